"""What was used and what it costs: to who records, to the ledger and to who asks.

Plain values without behaviour; part of what neighbours may import.
"""

from dataclasses import dataclass
from enum import IntEnum

from headrace.metering.core.edge import Outcome


class UsageKind(IntEnum):
    """How a request ended; the contract's numbers. The README says who pays."""

    EXECUTED = 1
    CACHED = 2
    COALESCED = 3
    FAILED = 4
    CANCELLED = 5


@dataclass(slots=True)
class UsageEvent:
    """One request, as it is billed.

    `billing_key` is the client's idempotency key, or else the edge's request
    identifier; empty when there is neither, and then the request is never taken
    for another one's repetition. `digest` is the digest of the request where the
    key is the client's, empty where it is the edge's. `code` is gRPC's number.
    `time_ms` counts from 1970. `stored_bytes` are kept for `stored_ms`.
    """

    tenant: str
    model: str
    model_version: str
    billing_key: bytes
    digest: bytes
    kind: UsageKind
    code: int
    rows: int
    cpu_ns: int
    gpu_ns: int
    request_bytes: int
    response_bytes: int
    stored_bytes: int
    time_ms: int
    stored_ms: int = 0


@dataclass(slots=True)  # not frozen: that would triple the time to make one, and each request makes one
class Cost:
    """What a tenant pays, in nano-units (10^-9) of the currency."""

    compute: int
    network: int
    storage: int
    api: int
    currency: str

    @property
    def total(self) -> int:
        """All of it."""
        return self.compute + self.network + self.storage + self.api


@dataclass(frozen=True, slots=True)
class Question:
    """Which usage is asked for: a period in seconds since 1970, None without a bound, told apart by tenant and model.

    `only` is the one tenant whose usage may be told; None: everybody's.
    """

    since_s: int | None = None
    until_s: int | None = None
    by_tenant: bool = False
    by_model: bool = False
    only: str | None = None


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one tenant used of one model in a period; each is empty when rows are not told apart by it.

    `requests` are those that the tenant pays for, `cached` of them came from a
    cache or from another request's result. `wasted_requests` are paid by nobody,
    and `waste` is what they used.
    """

    tenant: str
    model: str
    requests: int
    cached: int
    cost: Cost
    wasted_requests: int
    waste: int


@dataclass(frozen=True, slots=True)
class CostReport:
    """What was used in a period, whose bounds are seconds since 1970."""

    currency: str
    since_s: int
    until_s: int
    rows: tuple[CostRow, ...]


@dataclass(frozen=True, slots=True)
class EdgeCount:
    """Requests that ended one way at the edge; bytes are those of headers and bodies. The tenant may be empty: not known, or not told apart."""

    tenant: str
    outcome: Outcome
    requests: int
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class EdgeComparison:
    """The edge's requests beside the ledger's events, of one tenant and model.

    Bytes are those of the matched requests' bodies. `edge_only` requests were
    answered and have no event, `ledger_only` events have no request at the edge.
    `ledger_events` are all that the ledger has of the period.
    """

    tenant: str
    model: str
    matched: int = 0
    bytes_differ: int = 0
    edge_bytes: int = 0
    ledger_bytes: int = 0
    edge_only: int = 0
    ledger_only: int = 0
    ledger_events: int = 0


@dataclass(frozen=True, slots=True)
class EdgeReport:
    """What the edge saw in a period, in whole minutes; `waiting` requests and events have not met yet."""

    since_s: int
    until_s: int
    counts: tuple[EdgeCount, ...]
    comparisons: tuple[EdgeComparison, ...]
    waiting: int
