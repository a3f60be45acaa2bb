"""One of several requests that came in one call: in a stream, or in a list."""

from collections.abc import Sequence
from dataclasses import replace

from headrace.inference.usage import IDEMPOTENCY_KEY, REQUEST_ID
from headrace.runtime.rpc import Call

TRACE_ID, REPLICA = "headrace-trace-id", "headrace-replica"
COST, CURRENCY = "headrace-cost-nanos", "headrace-currency"


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


def told_of(parts: Sequence[Call]) -> list[tuple[str, str]]:
    """What an answer to all parts together tells: whose and which trace it is, and what it cost in all."""
    each = [dict(part.trailing) for part in parts]
    told = [(name, each[0][name]) for name in (TRACE_ID, REPLICA) if name in each[0]]
    if all(COST in one for one in each):
        told += [(COST, str(sum(int(one[COST]) for one in each))), (CURRENCY, each[0][CURRENCY])]
    return told
