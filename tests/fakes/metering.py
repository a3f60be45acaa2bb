"""Usage for metering's tests, as a replica records it and as the ledger takes it."""

from collections.abc import Iterable, Sequence

import numpy as np

from headrace.metering.core.prices import DEFAULT_BOOK, PriceBooks
from headrace.metering.core.rows import FORMAT, packed
from headrace.metering.ledger import Recording
from headrace.metering.usage import UsageEvent, UsageKind
from headrace.metering.wire import batch_from, batch_message

BOOKS = PriceBooks([DEFAULT_BOOK])
NOON_MS = 1_800_000_000_000


def event(
    key: bytes = b"",
    *,
    tenant: str = "acme",
    model: str = "linear",
    kind: UsageKind = UsageKind.EXECUTED,
    digest: bytes = b"",
    cpu_ns: int = 36_000,
    gpu_ns: int = 0,
    request_bytes: int = 100,
    response_bytes: int = 100,
    stored_bytes: int = 0,
    stored_ms: int = 0,
    time_ms: int = NOON_MS,
) -> UsageEvent:
    """An executed request that costs 1 nano-unit of compute, 10 of network and a call."""
    return UsageEvent(
        tenant=tenant,
        model=model,
        model_version="1",
        billing_key=key,
        digest=digest,
        kind=kind,
        code=0,
        rows=1,
        cpu_ns=cpu_ns,
        gpu_ns=gpu_ns,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        stored_bytes=stored_bytes,
        time_ms=time_ms,
        stored_ms=stored_ms,
    )


def recording(
    events: Iterable[UsageEvent],
    first: int = 1,
    *,
    source: str = "replica-0",
    incarnation: str = "a",
    oldest: int = 1,
    price_version: int = 0,
) -> Recording:
    """The events as a batch that came over the wire."""
    events = list(events)
    names = sorted({(e.tenant, e.model, e.model_version) for e in events})
    rows = b"".join(
        packed(names.index((e.tenant, e.model, e.model_version)) + 1, e, price_version) for e in events
    )
    message = batch_message(np.frombuffer(rows, FORMAT), names)
    return Recording(source, incarnation, first, oldest, batch_from(message), message.SerializeToString())


def keys(numbers: Sequence[int]) -> list[bytes]:
    """A billing key for each number."""
    return [number.to_bytes(16, "big") for number in numbers]
