"""One of several requests that came in one call: in a stream, or in a list."""

from dataclasses import replace

from headrace.inference.usage import IDEMPOTENCY_KEY, REQUEST_ID
from headrace.runtime.rpc import Call


def part_of(call: Call, number: int, now: float, size: int) -> Call:
    """The call as the request `number` of it sees it: with its own timings and its own billing key.

    Under the call's own key all of them would be one charge; only the first has that.
    """
    own = {
        name: f"{value}/{number}" if number else value
        for name in (IDEMPOTENCY_KEY, REQUEST_ID)
        if isinstance(value := call.metadata.get(name), str)
    }
    return replace(
        call,
        metadata={**call.metadata, **own},
        arrived=now,
        initial=[],
        trailing=[],
        request_bytes=size,
        progress=None,
    )
