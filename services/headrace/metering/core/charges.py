"""Who pays for what: the table of the README, for one event and for columns."""

from typing import NamedTuple

from headrace.metering.core.prices import PriceBook
from headrace.metering.usage import Cost, UsageEvent, UsageKind


class Paid(NamedTuple):
    """Which parts of an event its tenant pays."""

    compute: bool
    network: bool
    storage: bool
    api: bool


NOTHING = Paid(compute=False, network=False, storage=False, api=False)
PAYS = {
    UsageKind.EXECUTED: Paid(compute=True, network=True, storage=True, api=True),
    # Nothing ran for it. What it may say of compute or storage is the waste account's.
    UsageKind.CACHED: Paid(compute=False, network=True, storage=False, api=True),
    UsageKind.COALESCED: Paid(compute=False, network=True, storage=False, api=True),
    # Our fault: it used something and got nothing.
    UsageKind.FAILED: NOTHING,
    # The client's decision, so its share of the batch is its own; no answer, so no call is charged.
    UsageKind.CANCELLED: Paid(compute=True, network=False, storage=False, api=False),
}


def cost_of(event: UsageEvent, book: PriceBook) -> Cost:
    """What the tenant pays, unless the ledger finds its billing key used before."""
    compute, network, storage, api = PAYS[event.kind]
    return Cost(
        book.cpu_ns.of(event.cpu_ns) + (book.gpu_ns.of(event.gpu_ns) if event.gpu_ns else 0)
        if compute
        else 0,
        book.byte.of(event.request_bytes + event.response_bytes) if network else 0,
        book.byte_ms.of(event.stored_bytes * event.stored_ms) if storage and event.stored_bytes else 0,
        book.api_call if api else 0,
        book.currency,
    )
