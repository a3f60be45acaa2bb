"""What the edge saw: takes its access log and the ledger's new events, keeps the figures, answers about them.

The loop counts in memory; once a second a thread of its own brings that to the
disk. Nothing here is on a request's way, and the ledger never waits for it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from headrace.metering.core.batch import Batch
from headrace.metering.core.edge_book import Counts, EdgeBook
from headrace.metering.core.joining import Entry, Found, JoinWindow
from headrace.metering.edge_store import EdgeStore
from headrace.metering.errors import ledger_unavailable, overloaded
from headrace.metering.metrics import EdgeMetrics
from headrace.metering.usage import CostReport, CostRow, EdgeComparison, EdgeReport, Question
from headrace.runtime.clock import Clock
from headrace.runtime.loops import looping

T = TypeVar("T")

WINDOW_S = 120.0
"""How far apart a request's entry and its event may come."""
MAX_WAITING = 100_000
"""Entries and events that wait for each other: 10 s of 10,000 requests a second all of whose events are late."""
MAX_ROWS = 100_000
FLUSH_S = 1.0
TIDY_S = 3600.0
MAX_QUESTIONS = 64

log = structlog.get_logger()


class Costs(Protocol):
    """Who knows what the ledger has."""

    async def report(self, asked: Question) -> CostReport:
        """What was used in the period."""
        ...


class EdgeLog:
    """For the event loop's thread; the store is touched by `thread` alone."""

    def __init__(
        self,
        store: EdgeStore,
        costs: Costs,
        thread: ThreadPoolExecutor,
        metrics: EdgeMetrics,
        clock: Clock,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        self._store = store
        self._costs = costs
        self._thread = thread
        self._metrics = metrics
        self._clock = clock
        self._book = EdgeBook(JoinWindow(window_s, MAX_WAITING), MAX_ROWS)
        self._flushing = asyncio.Lock()
        self._tidied = clock.monotonic()
        self._questions = 0

    def take(self, entries: Iterable[Entry]) -> None:
        """Counts a batch of the edge's requests."""
        for entry in entries:
            self._book.request(entry)

    def recorded(self, batch: Batch) -> None:
        """Compares events that the ledger has just stored, each of them once."""
        self._book.recorded(batch)

    async def run(self) -> None:
        """Brings the figures to the disk, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    async def flush(self) -> None:
        """Brings the figures to the disk; what can't be kept now is kept the next time."""
        async with self._flushing:  # who asks meanwhile must find what is on its way
            counts, found = self._book.take(self._clock.monotonic())
            if counts or found:
                await self._keep(counts, found)
            self._metrics.told(self._book.waiting, self._book.dropped_since())
            await self._tidy()

    async def report(self, asked: Question) -> EdgeReport:
        """What the edge saw and how it compares with the ledger; raises OVERLOADED or LEDGER_UNAVAILABLE."""
        if self._questions >= MAX_QUESTIONS:
            raise overloaded()
        self._questions += 1
        try:
            await self.flush()
            return await self._report(asked)
        except sqlite3.Error as error:
            log.warning("the edge's figures can't be read", why=str(error))
            raise ledger_unavailable() from error
        finally:
            self._questions -= 1

    async def _report(self, asked: Question) -> EdgeReport:
        asked = replace(asked, since_s=_minute(asked.since_s), until_s=_minute(asked.until_s))
        ledger = await self._costs.report(asked)
        counts = await self._in_thread(lambda store: store.counts(asked))
        compared = await self._in_thread(lambda store: store.comparisons(asked))
        return EdgeReport(
            ledger.since_s, ledger.until_s, tuple(counts), _beside(compared, ledger.rows), self._book.waiting
        )

    async def _keep(self, counts: Counts, found: Found) -> None:
        try:
            # Shielded: what was taken out of the book is kept even when the service ends meanwhile.
            await asyncio.shield(self._in_thread(lambda store: store.add(counts, found)))
        except sqlite3.Error as error:
            log.warning("the edge's figures can't be kept now", why=str(error))
            self._book.give_back(counts, found)
        else:
            self._metrics.counted(counts, found)

    async def _tidy(self) -> None:
        now = self._clock.monotonic()
        if now - self._tidied < TIDY_S:
            return
        self._tidied = now
        try:
            await self._in_thread(EdgeStore.tidy)
        except sqlite3.Error as error:
            log.warning("old figures of the edge can't be dropped", why=str(error))

    async def _in_thread(self, work: Callable[[EdgeStore], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._store)


@asynccontextmanager
async def edge_log(
    path: Path, costs: Costs, metrics: EdgeMetrics, clock: Clock, *, window_s: float
) -> AsyncIterator[EdgeLog]:
    """A log whose figures are kept in `path`; on exit what is in memory is kept first."""
    store = await asyncio.to_thread(EdgeStore, path)
    with ThreadPoolExecutor(1, "edge-log") as thread:
        edge = EdgeLog(store, costs, thread, metrics, clock, window_s=window_s)
        try:
            async with looping(edge.run()):
                yield edge
        finally:
            await edge.flush()
            await asyncio.get_running_loop().run_in_executor(thread, store.close)


def _minute(seconds: int | None) -> int | None:
    return None if seconds is None else seconds // 60 * 60


def _beside(compared: list[EdgeComparison], ledger: tuple[CostRow, ...]) -> tuple[EdgeComparison, ...]:
    """The comparisons, each with what the ledger has in all; a row of the ledger that nothing was compared with, too."""
    rows = {(row.tenant, row.model): row for row in compared}
    for row in ledger:
        place = row.tenant, row.model
        found = rows.get(place) or EdgeComparison(*place)
        rows[place] = replace(found, ledger_events=row.requests + row.wasted_requests)
    return tuple(rows[place] for place in sorted(rows))
