"""The cache service as a client sees it: look-ups inside a budget, writes behind the caller's back."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import grpc
from google.protobuf.duration_pb2 import Duration
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer, set_span_in_context

from headrace.cache.core.breaker import Breaker
from headrace.cache.v1 import cache_pb2
from headrace.cache.v1.cache_service_pb2 import GetRequest, PutRequest
from headrace.runtime.clock import Clock

if TYPE_CHECKING:
    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub

Level = Literal["near", "memory", "redis", "miss"]
LEVELS: dict[int, Level] = {cache_pb2.LEVEL_MEMORY: "memory", cache_pb2.LEVEL_REDIS: "redis"}

WAITING_WRITES = 256
WAITING_BYTES = 16 << 20
WRITE_S = 1.0

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that the service had, on which level, and how long it may be served."""

    value: bytes
    level: Level
    time_to_live_s: float


class Remote:
    """Look-ups and writes of one service. None of them raises: what fails is a miss, or not written."""

    def __init__(
        self,
        stub: "CacheServiceAsyncStub",
        clock: Clock,
        tracer: Tracer,
        credentials: Metadata = (),
        *,
        budget_s: float = 0.005,
        breaker: Breaker | None = None,
    ) -> None:
        self._stub = stub
        self._clock = clock
        self._tracer = tracer
        self._credentials = credentials
        self._budget_s = budget_s
        self._writes: deque[PutRequest] = deque()
        self._write_bytes = 0
        self._waiting = asyncio.Event()
        self.breaker = breaker or Breaker()
        self.errors = 0
        self.dropped_writes = 0

    async def get(
        self, key: bytes, tenant: str, model: str, deadline: float | None, span: Span = INVALID_SPAN
    ) -> Fetched | None:
        """The answer; None when there is none, or not within the budget, or the breaker is open."""
        now = self._clock.monotonic()
        budget_s = self._budget_s if deadline is None else min(self._budget_s, deadline - now)
        if budget_s <= 0 or not self.breaker.admit(now):
            return None
        look_up = self._span(span)
        try:
            found = await self._asked(GetRequest(key=key, tenant=tenant, model=model), budget_s, look_up)
            look_up.set_attribute("headrace.cache.level", found.level if found else "miss")
            return found
        finally:
            look_up.end()

    def put(self, key: bytes, tenant: str, model: str, value: bytes, time_to_live_s: float) -> None:
        """Queues a write; drops it when too much waits."""
        if len(self._writes) >= WAITING_WRITES or self._write_bytes + len(value) > WAITING_BYTES:
            self.dropped_writes += 1
            return
        life = Duration()
        life.FromNanoseconds(int(time_to_live_s * 1e9))
        self._writes.append(PutRequest(key=key, tenant=tenant, model=model, value=value, time_to_live=life))
        self._write_bytes += len(value)
        self._waiting.set()

    async def write(self) -> None:
        """Writes what is queued, one at a time, for ever; while the breaker is open it is dropped."""
        while True:
            await self._waiting.wait()
            while self._writes:
                request = self._writes.popleft()
                self._write_bytes -= len(request.value)
                await self._written(request)
            self._waiting.clear()

    async def _asked(self, request: GetRequest, budget_s: float, span: Span) -> Fetched | None:
        try:
            answer = await self._stub.Get(request, timeout=budget_s, metadata=self._metadata(span))
        except grpc.aio.AioRpcError:
            self._failed()
            return None
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        level = LEVELS.get(answer.level)
        if level is None:
            return None
        return Fetched(answer.value, level, answer.time_to_live.ToNanoseconds() / 1e9)

    async def _written(self, request: PutRequest) -> None:
        if not self.breaker.admit(self._clock.monotonic()):
            self.dropped_writes += 1
            return
        try:
            await self._stub.Put(request, timeout=WRITE_S, metadata=self._credentials)
        except grpc.aio.AioRpcError:
            self.dropped_writes += 1
            self._failed()
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise
        else:
            self.breaker.succeeded()

    def _failed(self) -> None:
        self.errors += 1
        self.breaker.failed(self._clock.monotonic())

    def _span(self, parent: Span) -> Span:
        if not parent.is_recording():
            return INVALID_SPAN
        return self._tracer.start_span(
            "cache", context=set_span_in_context(parent, Context()), kind=SpanKind.CLIENT
        )

    def _metadata(self, span: Span) -> Metadata:
        if not span.is_recording():
            return self._credentials
        of = span.get_span_context()
        return (*self._credentials, ("traceparent", f"00-{of.trace_id:032x}-{of.span_id:016x}-01"))
