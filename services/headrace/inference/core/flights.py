"""The last requests of a replica, in memory that is allocated once.

Each request is one row of fixed size, packed in one call; a query reads the rows
as columns. What rows share (tenant, model, how they ended) is a `Kind`, kept
once. Pure: times are monotonic seconds that the caller has read.

One thread adds. Others may query meanwhile: a row is packed and unpacked in one
step each, what a query found is checked again on the unpacked row, and a page
that has been replaced is never written to again.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROW = struct.Struct("<16s16sddddddIBIQq")
COLUMNS = np.dtype(
    [
        ("request", "V16"), ("trace", "V16"), ("arrived", "<f8"), ("admitted", "<f8"), ("queued", "<f8"),
        ("started", "<f8"), ("computed", "<f8"), ("ended", "<f8"), ("kind", "<u4"), ("sampled", "u1"),
        ("batch_rows", "<u4"), ("batch", "<u8"), ("cost", "<i8"),
    ]
)  # fmt: skip
KIND = list(COLUMNS.fields or ()).index("kind")
NEVER = 0.0
NO_ID = bytes(16)
NO_COST = -1
MAX_FOUND = 100


class Kind(NamedTuple):
    """What many flights have in common. `code` is gRPC's number; empty texts are what was never known."""

    tenant: str
    model: str
    method: str
    code: int
    reason: str
    cache: str
    cut: str


KindFields = tuple[str, str, str, int, str, str, str]
"""A Kind, or its values alone, which are made in half the time."""


class BatchFacts(NamedTuple):
    """A batch that was executed; `sequence` counts from 1, times are monotonic seconds."""

    sequence: int
    rows: int
    cut: str
    started: float
    ended: float


NO_BATCH = BatchFacts(0, 0, "", NEVER, NEVER)


@dataclass(slots=True)
class Progress:
    """How far a request has come; its handler and its batch fill it in. Times as in `Flight`."""

    model: str
    admitted: float = NEVER
    queued: float = NEVER
    cache: str = ""
    cost: int = NO_COST
    batch: BatchFacts = NO_BATCH


@dataclass(frozen=True, slots=True)
class Flight:
    """One request. Identifiers are 16 bytes, of zeros when there was none.

    Times are monotonic seconds, NEVER for what did not happen; `cost` is in
    nano-units, NO_COST when it is not known; `sampled` is 1 where spans were recorded.
    """

    request: bytes
    trace: bytes
    arrived: float
    admitted: float
    queued: float
    started: float
    computed: float
    ended: float
    kind: Kind
    sampled: int
    batch_rows: int
    batch: int
    cost: int


class _Page:
    """The rows, the same memory as columns, and the kinds that rows name by their place."""

    __slots__ = ("columns", "data", "kinds")

    def __init__(self, data: bytearray, kinds: list[Kind]) -> None:
        self.data = data
        self.columns: NDArray[Any] = np.frombuffer(data, COLUMNS)
        self.kinds = kinds


class FlightRing:
    """The last `capacity` flights."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._page = _Page(bytearray(ROW.size * capacity), [])
        self._places: dict[KindFields, int] = {}
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self._capacity)

    @property
    def nbytes(self) -> int:
        """What the rows take, full or empty."""
        return len(self._page.data)

    @property
    def kinds(self) -> int:
        """How many kinds are kept: never more than twice the flights."""
        return len(self._page.kinds)

    def add(
        self,
        kind: KindFields,
        request: bytes,
        trace: bytes,
        arrived: float,
        ended: float,
        progress: Progress,
        *,
        sampled: bool,
    ) -> None:
        """Writes a flight over the oldest one. Costs about a microsecond."""
        place = self._places.get(kind)
        if place is None:
            place = self._new_place(kind)
        batch = progress.batch
        ROW.pack_into(
            self._page.data, self._added % self._capacity * ROW.size,
            request, trace, arrived, progress.admitted, progress.queued, batch.started, batch.ended, ended,
            place, sampled, batch.rows, batch.sequence, progress.cost,
        )  # fmt: skip
        self._added += 1

    def of_request(self, request: bytes, tenant: str) -> list[Flight]:
        """The flights of a request id (not zeros), oldest first; of `tenant` only, if it is not empty."""
        return self._with_id("request", request, lambda one: one.request == request, tenant)

    def of_trace(self, trace: bytes, tenant: str) -> list[Flight]:
        """The flights of a trace, likewise."""
        return self._with_id("trace", trace, lambda one: one.trace == trace, tenant)

    def newest(self, limit: int, wanted: Callable[[Kind], bool]) -> list[Flight]:
        """The flights of wanted kinds that ended last, the last one first."""
        return self._top(limit, wanted, lambda rows: rows["ended"], lambda one: one.ended)

    def slowest(self, limit: int, wanted: Callable[[Kind], bool]) -> list[Flight]:
        """The flights of wanted kinds that took longest, the longest first."""
        return self._top(
            limit, wanted, lambda rows: rows["ended"] - rows["arrived"], lambda one: one.ended - one.arrived
        )

    def _with_id(
        self, column: str, identifier: bytes, same: Callable[[Flight], bool], tenant: str
    ) -> list[Flight]:
        page, count = self._page, len(self)
        # As two numbers a row: numpy compares those without making an object of each.
        halves = page.columns[column][:count].copy().view("<u8").reshape(-1, 2)
        high, low = np.frombuffer(identifier, "<u8")
        places = np.flatnonzero((halves[:, 0] == high) & (halves[:, 1] == low))
        flights = [one for one in _flights(page, places) if same(one) and tenant in ("", one.kind.tenant)]
        return sorted(flights, key=lambda one: one.ended)[-MAX_FOUND:]

    def _top(
        self,
        limit: int,
        wanted: Callable[[Kind], bool],
        keys: Callable[[NDArray[Any]], NDArray[Any]],
        key: Callable[[Flight], float],
    ) -> list[Flight]:
        page, count = self._page, len(self)
        rows = page.columns[:count]
        told = np.array([wanted(kind) for kind in page.kinds], bool)
        if not told.any():
            return []
        places = np.flatnonzero(np.take(told, rows["kind"], mode="clip"))
        values = keys(rows)[places]
        if len(places) > limit:
            places = places[np.argpartition(values, -limit)[-limit:]]
        flights = [one for one in _flights(page, places) if wanted(one.kind)]
        return sorted(flights, key=key, reverse=True)

    def _new_place(self, kind: KindFields) -> int:
        if len(self._page.kinds) >= 2 * self._capacity:
            self._forget_unused()
        place = self._places[kind] = len(self._page.kinds)
        self._page.kinds.append(Kind(*kind))
        return place

    def _forget_unused(self) -> None:
        """Keeps the kinds that a row names, so that they are bounded as the rows are."""
        old = self._page
        used, places = np.unique(old.columns["kind"], return_inverse=True)
        page = _Page(bytearray(old.data), [old.kinds[place] for place in used])
        page.columns["kind"] = places
        self._page = page
        self._places = {kind: place for place, kind in enumerate(page.kinds)}


def _flights(page: _Page, places: Iterable[Any]) -> Iterator[Flight]:
    for place in places:
        row: list[Any] = list(ROW.unpack_from(page.data, int(place) * ROW.size))
        row[KIND] = page.kinds[row[KIND]]
        yield Flight(*row)
