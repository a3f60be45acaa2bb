"""Passes spans on to other OTLP receivers, each at its own pace.

Nothing here blocks an export: what arrives is put into one bounded queue for
each receiver, or dropped and counted. A batch is sent again only when the
receiver was not reached: one that took it and gave no answer may have kept it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headrace.insight.core.otlp import span_count
from headrace.insight.core.outbox import Outbox, Part, outgoing
from headrace.insight.metrics import QUEUE_FULL, REFUSED, STOPPED, UNANSWERED, InsightMetrics
from headrace.runtime.channels import open_channel

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
BATCH_BYTES = 1024 * 1024
"""A quarter of what receivers take by default; an export that is larger goes alone."""
ANSWER_S = 10.0
AWAY_S = 5.0
"""So long a receiver may be out of reach before the log says it."""
RETRY_S = 1.0
FLUSH_S = 2.0
"""What still waits when insight stops has so long to leave."""

# Of OTLP's retryable codes, those by which a receiver says that it took nothing.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED})

log = structlog.get_logger()


class Forwarder:
    """The queue of one receiver, and the loop that empties it."""

    def __init__(
        self,
        receiver: str,
        channel: grpc.aio.Channel,
        metrics: InsightMetrics,
        *,
        queue_bytes: int,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._receiver = receiver
        self._channel = channel
        self._export = channel.unary_unary(EXPORT, bytes, ExportTraceServiceResponse.FromString)
        self._answer_s = answer_s
        self._outbox = Outbox(queue_bytes, BATCH_BYTES)
        self._waiting = asyncio.Event()
        self._closing = False
        self._dropped = {
            reason: metrics.forward_dropped.labels(receiver, reason)
            for reason in (QUEUE_FULL, REFUSED, UNANSWERED, STOPPED)
        }
        self._forwarded = metrics.forwarded.labels(receiver)
        self._queue_bytes = metrics.forward_queue_bytes.labels(receiver)

    def offer(self, part: Part) -> None:
        """Queues the spans, or drops and counts them."""
        if not self._outbox.offer(part):
            self._dropped[QUEUE_FULL].inc(part.spans)
            return
        self._queue_bytes.set(self._outbox.bytes)
        self._waiting.set()

    async def run(self) -> None:
        """Sends what waits, until `close` was called and nothing waits."""
        while batch := await self._next():
            await self._reached()
            if await self._settled(batch):
                self._outbox.settled(batch)
                self._queue_bytes.set(self._outbox.bytes)
            else:
                await asyncio.sleep(RETRY_S)

    def close(self) -> None:
        """From now on `run` ends when nothing waits."""
        self._closing = True
        self._waiting.set()

    def abandon(self) -> None:
        """Counts what still waits as dropped; for when `run` was cancelled."""
        while batch := self._outbox.batch():
            self._dropped[STOPPED].inc(sum(part.spans for part in batch))
            self._outbox.settled(batch)

    async def _next(self) -> list[Part]:
        while not (batch := self._outbox.batch()) and not self._closing:
            self._waiting.clear()
            await self._waiting.wait()
        return batch

    async def _reached(self) -> None:
        """Returns when there is a connection, however long that takes."""
        try:
            async with asyncio.timeout(AWAY_S):
                await self._channel.channel_ready()
        except TimeoutError:
            log.warning("a receiver of spans is out of reach", receiver=self._receiver)
            await self._channel.channel_ready()
            log.info("a receiver of spans is back", receiver=self._receiver)

    async def _settled(self, batch: list[Part]) -> bool:
        """Sends the batch; False when it was not taken and is worth another try."""
        part = await asyncio.to_thread(outgoing, batch)
        try:
            answer = await self._export(part.data, timeout=self._answer_s)
        except grpc.aio.AioRpcError as error:
            if error.code() in _AGAIN:
                return False
            unanswered = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            self._dropped[UNANSWERED if unanswered else REFUSED].inc(part.spans)
            log.warning(
                "a receiver did not take spans",
                receiver=self._receiver,
                spans=part.spans,
                code=error.code().name,
            )
            return True
        rejected = min(answer.partial_success.rejected_spans, part.spans)
        self._dropped[REFUSED].inc(rejected)
        self._forwarded.inc(part.spans - rejected)
        return True


class Fanout:
    """Every receiver gets every span."""

    def __init__(self, forwarders: Sequence[Forwarder]) -> None:
        self._forwarders = forwarders

    def offer(self, request: ExportTraceServiceRequest) -> None:
        """Queues the request's spans for each receiver; never waits."""
        if not self._forwarders:
            return
        part = Part(request.SerializeToString(), span_count(request))
        for forwarder in self._forwarders:
            forwarder.offer(part)


@asynccontextmanager
async def forwarding(
    receivers: Sequence[str],
    metrics: InsightMetrics,
    *,
    queue_bytes: int,
    answer_s: float = ANSWER_S,
    flush_s: float = FLUSH_S,
) -> AsyncIterator[Fanout]:
    """A running fan-out; on exit what waits has `flush_s` to leave, the rest is counted as dropped."""
    async with AsyncExitStack() as stack:
        forwarders = []
        for receiver in dict.fromkeys(receivers):
            channel = await stack.enter_async_context(open_channel(receiver))
            forwarders.append(
                Forwarder(receiver, channel, metrics, queue_bytes=queue_bytes, answer_s=answer_s)
            )
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(forwarder.run()) for forwarder in forwarders]
            try:
                yield Fanout(forwarders)
            finally:
                await _flushed(forwarders, loops, flush_s)


async def _flushed(
    forwarders: Sequence[Forwarder], loops: Sequence[asyncio.Task[None]], flush_s: float
) -> None:
    for forwarder in forwarders:
        forwarder.close()
    if loops:
        await asyncio.wait(loops, timeout=flush_s)
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    for forwarder in forwarders:
        forwarder.abandon()
