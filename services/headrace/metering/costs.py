"""Answers what usage cost, from a thread of its own: a long question never waits for the ledger's writer."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import structlog

from headrace.metering.errors import ledger_unavailable, overloaded
from headrace.metering.reader import LedgerReader
from headrace.metering.usage import CostReport, Question
from headrace.runtime.clock import Clock

T = TypeVar("T")

MAX_QUESTIONS = 64
NO_END = 2**62

log = structlog.get_logger()


class Costs:
    """Asks the reader, one question at a time."""

    def __init__(self, reader: LedgerReader, thread: ThreadPoolExecutor, currency: str, clock: Clock) -> None:
        self._reader = reader
        self._thread = thread
        self._currency = currency
        self._clock = clock
        self._questions = 0

    async def report(self, asked: Question) -> CostReport:
        """What was used in the period; raises OVERLOADED or LEDGER_UNAVAILABLE."""
        since_s, until_s = asked.since_s, asked.until_s

        def question(reader: LedgerReader) -> CostReport:
            until = NO_END if until_s is None else until_s
            rows = reader.costs(
                since_s or 0,
                until,
                self._currency,
                by_tenant=asked.by_tenant,
                by_model=asked.by_model,
                only=asked.only,
            )
            now_s = self._clock.time_ns() // 10**9
            since = reader.first_second() if since_s is None else since_s
            return CostReport(
                self._currency,
                now_s if since is None else since,
                now_s if until_s is None else until_s,
                tuple(rows),
            )

        return await self._ask(question)

    async def _ask(self, question: Callable[[LedgerReader], T]) -> T:
        if self._questions >= MAX_QUESTIONS:
            raise overloaded()
        self._questions += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._reader)
        except sqlite3.Error as error:
            log.warning("the ledger can't be read", why=str(error))
            raise ledger_unavailable() from error
        finally:
            self._questions -= 1


@asynccontextmanager
async def answering(path: Path, currency: str, clock: Clock) -> AsyncIterator[Costs]:
    """Answers about the ledger at `path`, which must be there."""
    reader = await asyncio.to_thread(LedgerReader, path)
    with ThreadPoolExecutor(1, "ledger-reader") as thread:
        try:
            yield Costs(reader, thread, currency, clock)
        finally:
            await asyncio.get_running_loop().run_in_executor(thread, reader.close)
