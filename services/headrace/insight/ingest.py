"""The thread that owns the store: a bounded queue before it, answers behind it.

Nothing here blocks the event loop: `offer` puts a request into the queue or
drops it, and a question is answered through a future. One transaction takes
whatever waits, up to a bound, so that more load means larger batches.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.insight.core.keep import KeepRate
from headrace.insight.core.otlp import by_trace, converted, linked_traces, span_count
from headrace.insight.errors import reads_overloaded
from headrace.insight.metrics import (
    AGE,
    BYTES,
    DUPLICATE,
    INVALID,
    QUEUE_FULL,
    STORE_FAILED,
    TRACE_FULL,
    TRACE_RATE,
    InsightMetrics,
)
from headrace.insight.spans import Span
from headrace.insight.store import SqliteStore
from headrace.runtime.clock import Clock

T = TypeVar("T")

MAX_QUESTIONS = 64
TRANSACTION_BYTES = 2 * 1024 * 1024
"""Of queued requests; a transaction never takes less than one request."""
ON_DISK = 3
"""Bytes that a byte of a request takes at most in the store, when rows fill half a page; 1.3 is usual."""
HOUSEKEEPING_S = 30.0
GATHER_S = 0.25
"""How long spans wait for others, so that a transaction serves several exports; a question ends the wait."""

log = structlog.get_logger()


class Ingest:
    """Stores what is offered and answers questions about what is stored."""

    def __init__(
        self,
        store: SqliteStore,
        keep: KeepRate,
        metrics: InsightMetrics,
        clock: Clock,
        *,
        queue_bytes: int,
        retention_s: float,
    ) -> None:
        self._store = store
        self._keep = keep
        self._metrics = metrics
        self._clock = clock
        self._queue_bytes = queue_bytes
        self._retention_ns = int(retention_s * 1e9)
        self._wakened = threading.Condition()
        self._requests: deque[tuple[int, ExportTraceServiceRequest]] = deque()
        self._waiting_bytes = 0
        self._questions: deque[tuple[Future[Any], Callable[[SqliteStore], Any]]] = deque()
        self._closed = False
        self._tidied = clock.monotonic() - HOUSEKEEPING_S
        self._thread = threading.Thread(target=self._run, name="insight-store")

    def start(self) -> None:
        """Starts the thread; until then what is offered waits."""
        self._thread.start()

    def offer(self, request: ExportTraceServiceRequest) -> bool:
        """Queues the request's spans; False when there was no room and they are dropped."""
        size, count = request.ByteSize(), span_count(request)
        self._metrics.received.inc(count)
        with self._wakened:
            room = not self._closed and self._waiting_bytes + size <= self._queue_bytes
            if room:
                self._requests.append((size, request))
                self._waiting_bytes += size
                self._metrics.queue_bytes.set(self._waiting_bytes)
                self._wakened.notify()
        if not room:
            self._metrics.dropped.labels(QUEUE_FULL).inc(count)
        return room

    async def ask(self, question: Callable[[SqliteStore], T]) -> T:
        """The question's answer, from the store's thread; raises OVERLOADED when too many wait."""
        future: Future[T] = Future()
        with self._wakened:
            if self._closed or len(self._questions) >= MAX_QUESTIONS:
                raise reads_overloaded()
            self._questions.append((future, question))
            self._wakened.notify()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Stores what waits, answers what was asked, and ends the thread. Blocks."""
        with self._wakened:
            self._closed = True
            self._wakened.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wakened:
                if self._wakened.wait_for(self._busy, HOUSEKEEPING_S):
                    self._wakened.wait_for(self._hurried, GATHER_S)
                questions = list(self._questions)
                self._questions.clear()
                requests = self._taken()
                ended = self._closed and not requests and not questions
            for future, question in questions:
                self._answer(future, question)
            self._guarded(requests)
            if ended:
                return

    def _busy(self) -> bool:
        return self._closed or bool(self._requests or self._questions)

    def _hurried(self) -> bool:
        return self._closed or bool(self._questions) or self._waiting_bytes >= TRANSACTION_BYTES

    def _taken(self) -> list[ExportTraceServiceRequest]:
        """The oldest requests, one transaction's worth."""
        taken: list[ExportTraceServiceRequest] = []
        size = 0
        while self._requests and (not taken or size + self._requests[0][0] <= TRANSACTION_BYTES):
            next_size, request = self._requests.popleft()
            size += next_size
            taken.append(request)
        self._waiting_bytes -= size
        self._metrics.queue_bytes.set(self._waiting_bytes)
        return taken

    def _answer(self, future: Future[T], question: Callable[[SqliteStore], T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(question(self._store))
        except Exception as error:  # noqa: BLE001 - the asker's boundary tells it, the thread goes on
            future.set_exception(error)

    def _guarded(self, requests: Sequence[ExportTraceServiceRequest]) -> None:
        """A request that can't be stored costs its own spans, never the thread."""
        try:
            if requests:
                self._store_all(requests)
            self._tidy()
        except Exception:  # root of the thread's work: a full disk must not end insight
            count = sum(map(span_count, requests))
            self._metrics.dropped.labels(STORE_FAILED).inc(count)
            log.exception("spans could not be stored", spans=count)

    def _store_all(self, requests: Sequence[ExportTraceServiceRequest]) -> None:
        grouped = by_trace(requests)
        self._metrics.dropped.labels(INVALID).inc(grouped.invalid)
        now = self._clock.monotonic()
        kept: dict[bytes, list[Span]] = {}
        for trace_id, received in grouped.traces.items():
            if self._keep.keeps(trace_id, linked_traces(received), now) or self._store.has(trace_id):
                kept[trace_id] = [converted(span) for span in received]
            else:
                self._metrics.traces_dropped.inc()
                self._metrics.dropped.labels(TRACE_RATE).inc(len(received))
        if kept:
            evicted = self._store.make_room(ON_DISK * sum(request.ByteSize() for request in requests))
            self._metrics.traces_evicted.labels(BYTES).inc(evicted)
            added = self._store.add(kept, self._clock.time_ns())
            self._metrics.stored.inc(added.stored)
            self._metrics.dropped.labels(DUPLICATE).inc(added.duplicate)
            self._metrics.dropped.labels(TRACE_FULL).inc(added.trace_full)

    def _tidy(self) -> None:
        now = self._clock.monotonic()
        if now - self._tidied < HOUSEKEEPING_S:
            return
        self._tidied = now
        evicted = self._store.evict_before(self._clock.time_ns() - self._retention_ns)
        self._metrics.traces_evicted.labels(AGE).inc(evicted)
        self._metrics.store_bytes.set(self._store.used_bytes())
