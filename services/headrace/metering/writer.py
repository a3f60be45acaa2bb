"""The thread that owns the ledger: one transaction takes whatever waits.

Nothing here blocks the event loop. The queue is bounded: a source whose batch
finds it full is told so and sends it again.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import structlog

from headrace.metering.errors import ledger_unavailable, overloaded
from headrace.metering.ledger import Ledger, Recorded, Recording
from headrace.metering.metrics import MeteringMetrics
from headrace.runtime.clock import Clock

TRANSACTION_EVENTS = 16_384
MAX_WAITING_EVENTS = 262_144
TIDY_S = 60.0

log = structlog.get_logger()

Waiting = tuple[Future[Recorded], Recording]


class LedgerWriter:
    """Records what it is given; every caller learns what became of its batch after the commit."""

    def __init__(self, ledger: Ledger, metrics: MeteringMetrics, clock: Clock) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._wakened = threading.Condition()
        self._queue: deque[Waiting] = deque()
        self._waiting = 0
        self._closed = False
        self._tidied = clock.monotonic() - TIDY_S
        self._thread = threading.Thread(target=self._run, name="ledger")

    def start(self) -> None:
        """Starts the thread; until then what is given waits."""
        self._thread.start()

    async def record(self, recording: Recording) -> Recorded:
        """Records the batch; raises OVERLOADED or LEDGER_UNAVAILABLE, and then it is not recorded."""
        future: Future[Recorded] = Future()
        with self._wakened:
            if self._closed or self._waiting + len(recording.batch) > MAX_WAITING_EVENTS:
                raise overloaded()
            self._queue.append((future, recording))
            self._waiting += len(recording.batch)
            self._metrics.waiting.set(self._waiting)
            self._wakened.notify()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Records what waits and ends the thread. Blocks."""
        with self._wakened:
            self._closed = True
            self._wakened.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wakened:
                self._wakened.wait_for(lambda: self._closed or self._queue, TIDY_S)
                taken = self._taken()
                if self._closed and not taken:
                    return
            if taken:
                self._record(taken)
            self._tidy()

    def _taken(self) -> list[Waiting]:
        """The oldest batches, one transaction's worth; those whose caller has left are let go."""
        taken: list[Waiting] = []
        events = 0
        while self._queue and (not taken or events + len(self._queue[0][1].batch) <= TRANSACTION_EVENTS):
            future, recording = self._queue.popleft()
            self._waiting -= len(recording.batch)
            if future.set_running_or_notify_cancel():
                events += len(recording.batch)
                taken.append((future, recording))
        self._metrics.waiting.set(self._waiting)
        return taken

    def _record(self, taken: Sequence[Waiting]) -> None:
        begun = self._clock.monotonic()
        try:
            results = self._ledger.record(
                [recording for _, recording in taken], self._clock.time_ns() // 10**6
            )
        except Exception as error:  # root of the thread's work: a full disk must not end metering
            self._metrics.failures.inc()
            log.exception("usage could not be recorded", batches=len(taken))
            for future, _ in taken:
                future.set_exception(ledger_unavailable() if isinstance(error, sqlite3.Error) else error)
            return
        self._metrics.commit_seconds.observe(self._clock.monotonic() - begun)
        for (future, _), result in zip(taken, results, strict=True):
            self._count(result)
            future.set_result(result)

    def _count(self, result: Recorded) -> None:
        self._metrics.recorded.inc(result.events)
        self._metrics.repeated.inc(result.repeated)
        self._metrics.unpaid.inc(result.unpaid)
        self._metrics.lost.inc(result.lost)
        for currency, nanos in result.paid:
            self._metrics.paid.labels(currency).inc(nanos)

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        if now - self._tidied < TIDY_S:
            return
        self._tidied = now
        try:
            self._ledger.tidy_keys(self._clock.time_ns() // 10**6)
        except sqlite3.Error:
            log.exception("old billing keys could not be tidied")
