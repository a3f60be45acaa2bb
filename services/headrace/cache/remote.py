"""The cache service as a client sees it: look-ups inside a budget, writes behind the caller's back."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode, Tracer, set_span_in_context

from headrace.cache.core.breaker import Breaker
from headrace.cache.together import Together
from headrace.cache.v1 import cache_pb2
from headrace.cache.v1.cache_service_pb2 import (
    BatchGetRequest,
    BatchPutRequest,
    GetRequest,
    GetResponse,
    PutRequest,
)
from headrace.runtime.clock import Clock

if TYPE_CHECKING:
    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub

T = TypeVar("T")
Level = Literal["near", "memory", "redis", "miss"]
LEVELS: dict[int, Level] = {cache_pb2.LEVEL_MEMORY: "memory", cache_pb2.LEVEL_REDIS: "redis"}

WAITING_WRITES = 256
WAITING_BYTES = 16 << 20
WRITE_S = 1.0
WRITTEN_AT_ONCE = 64
WRITTEN_BYTES = 1 << 20
"""In one call: the message stays under the service's limit, whatever the answers' sizes."""

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
        self._together: Together[GetRequest, Fetched] = Together(self._asked, clock, budget_s=budget_s)
        self.breaker = breaker or Breaker()
        self.errors = 0
        self.dropped_writes = 0

    async def get(
        self, key: bytes, tenant: str, model: str, deadline: float | None, span: Span = INVALID_SPAN
    ) -> Fetched | None:
        """The answer; None when there is none, or not within the budget, or the breaker is open.

        A look-up of a traced request is a call of its own, so that its trace shows what the service did for it:
        the level, or by `error.type` why it gave no answer.
        """
        request = GetRequest(key=key, tenant=tenant, model=model)
        if not span.is_recording():
            return await self._together.get(request)
        look_up = self._tracer.start_span(
            "cache", context=set_span_in_context(span, Context()), kind=SpanKind.CLIENT
        )
        try:
            return await self._asked_alone(request, deadline, look_up)
        finally:
            look_up.end()

    async def close(self) -> None:
        """Ends the look-ups under way."""
        await self._together.close()

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
        """Writes what is queued, one call at a time, for ever; while the breaker is open it is dropped."""
        while True:
            await self._waiting.wait()
            while self._writes:
                await self._written(self._next_writes())
            self._waiting.clear()

    def _next_writes(self) -> list[PutRequest]:
        requests: list[PutRequest] = []
        size = 0
        while self._writes and len(requests) < WRITTEN_AT_ONCE and size < WRITTEN_BYTES:
            requests.append(self._writes.popleft())
            size += len(requests[-1].value)
        self._write_bytes -= size
        return requests

    async def _asked(self, requests: Sequence[GetRequest], within_s: float) -> list[Fetched | None] | None:
        """The answers; None when the service has not answered, or is not asked."""
        if not self.breaker.admit(self._clock.monotonic()):
            return None
        call = self._stub.BatchGet(
            BatchGetRequest(requests=requests), timeout=within_s, metadata=self._credentials
        )
        answer = await self._heard(call)
        return None if answer is None else [_fetched(one) for one in answer.responses]

    async def _asked_alone(self, request: GetRequest, deadline: float | None, span: Span) -> Fetched | None:
        now = self._clock.monotonic()
        budget_s = self._budget_s if deadline is None else min(self._budget_s, deadline - now)
        if budget_s <= 0:
            _unanswered(span, "DEADLINE_EXCEEDED")
            return None
        if not self.breaker.admit(now):
            _unanswered(span, "breaker_open")
            return None
        of = span.get_span_context()
        parent = ("traceparent", f"00-{of.trace_id:032x}-{of.span_id:016x}-01")
        answer = await self._heard(
            self._stub.Get(request, timeout=budget_s, metadata=(*self._credentials, parent)), span
        )
        if answer is None:
            return None
        found = _fetched(answer)
        span.set_attribute("headrace.cache.level", found.level if found else "miss")
        return found

    async def _written(self, requests: list[PutRequest]) -> None:
        if not self.breaker.admit(self._clock.monotonic()):
            self.dropped_writes += len(requests)
            return
        call = self._stub.BatchPut(
            BatchPutRequest(requests=requests), timeout=WRITE_S, metadata=self._credentials
        )
        if await self._heard(call) is None:
            self.dropped_writes += len(requests)

    async def _heard(self, call: Awaitable[T], span: Span = INVALID_SPAN) -> T | None:
        """The call's answer, or None; the breaker hears how it went, and the span why there is none."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self.errors += 1
            self.breaker.failed(self._clock.monotonic())
            _unanswered(span, error.code().name)
            return None
        except asyncio.CancelledError:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        return answer


def _unanswered(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)


def _fetched(answer: GetResponse) -> Fetched | None:
    level = LEVELS.get(answer.level)
    if level is None:
        return None
    return Fetched(answer.value, level, answer.time_to_live.ToNanoseconds() / 1e9)
