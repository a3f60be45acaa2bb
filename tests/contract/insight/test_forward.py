"""Spans on their way through insight to other OTLP receivers, well and ill."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from prometheus_client import CollectorRegistry

from headrace.insight.app import Insight, build
from headrace.insight.client import InsightClient
from headrace.insight.forward import forwarding
from headrace.insight.metrics import InsightMetrics
from headrace.insight.settings import MIB, Settings
from headrace.runtime.channels import open_channel
from tests.contract.insight.conftest import Credentials
from tests.contract.insight.test_export import reason_of, settled, value
from tests.fakes.insight import otlp_request, otlp_span, span_id, trace_id
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually

FAST_S = 1.0
"""Far under what a receiver has to answer, far above what an export takes."""


async def got(receiver: Receiver, *numbers: int) -> None:
    """Returns once the receiver has these spans, each once and no other."""
    expected = sorted(map(span_id, numbers))
    await asyncio.to_thread(
        eventually, lambda: sorted(span.span_id for _, span in receiver.spans()) == expected, "spans arrive"
    )


async def until(probe: Callable[[], bool], what: str) -> None:
    """Returns once the probe is true; the loop goes on meanwhile."""
    await asyncio.to_thread(eventually, probe, what)


def export(settings: Settings, *numbers: int, padding: int = 0) -> Awaitable[ExportTraceServiceResponse]:
    """Sends an export of these spans over the Unix socket; fails when it isn't answered fast."""

    async def call() -> ExportTraceServiceResponse:
        spans = [otlp_span(number, number) for number in numbers]
        for span in spans:
            span.name += "x" * padding
        async with open_channel(f"unix:{settings.socket}") as channel:
            return await TraceServiceStub(channel).Export(otlp_request(*spans), timeout=FAST_S)

    return call()


def dropped(insight: Insight, receiver: str, reason: str) -> float:
    """How many spans the receiver did not get, for this reason."""
    return value(insight, "headrace_insight_forward_dropped_spans_total", receiver=receiver, reason=reason)


async def stored(insight: Insight, *numbers: int) -> bool:
    """Whether insight itself has all these traces."""
    await settled(insight)
    return await insight.ingest.ask(lambda store: all(store.has(trace_id(number)) for number in numbers))


@contextmanager
def two_receivers() -> Iterator[tuple[Receiver, Receiver]]:
    with receiving() as one, receiving() as other:
        yield one, other


async def test_every_receiver_gets_the_same_spans(settings: Settings) -> None:
    """Insight's store and two receivers: the same spans with their service, less the secrets."""
    with two_receivers() as (one, other):
        async with build(replace(settings, forward=(one.address, other.address))) as insight:
            request = otlp_request(
                otlp_span(1, 1), otlp_span(1, 2, parent=1, links=[(7, 7)]), service="gateway"
            )
            async with open_channel(f"unix:{settings.socket}") as channel:
                await TraceServiceStub(channel).Export(request)
            await got(one, 1, 2)
            await got(other, 1, 2)
            await until(
                lambda: value(insight, "headrace_insight_spans_forwarded_total", receiver=other.address) == 2,
                "counted",
            )
            assert await stored(insight, 1)
        sent = request.resource_spans[0].scope_spans[0].spans
        assert one.spans() == other.spans() == [("gateway", span) for span in sent]


async def test_no_secret_leaves(settings: Settings) -> None:
    """What the store would not keep is not passed on either."""
    span = otlp_span(1, 1)
    span.attributes.add(key="http.request.header.authorization").value.string_value = "canary"
    with receiving() as receiver:
        async with build(replace(settings, forward=(receiver.address,))):
            async with open_channel(f"unix:{settings.socket}") as channel:
                await TraceServiceStub(channel).Export(otlp_request(span))
            await got(receiver, 1)
        assert "canary" not in str(receiver.spans())


async def test_a_receiver_that_is_away_gets_the_spans_when_it_comes(settings: Settings) -> None:
    """Away at the start and away again later: its spans wait, the other receiver's and the store's don't."""
    with receiving() as first:
        address = first.address
    with receiving() as other:
        async with build(replace(settings, forward=(address, other.address))) as insight:
            await export(settings, 1)
            await got(other, 1)
            with receiving(address) as back:
                await got(back, 1)
            await export(settings, 2)
            await got(other, 1, 2)
            assert await stored(insight, 1, 2)
            with receiving(address) as again:
                await got(again, 2)


async def test_a_receiver_that_hangs_slows_nobody(settings: Settings) -> None:
    """Exports are answered, the store and the other receiver get all; what finds no room is dropped and counted."""
    numbers = range(1, 13)
    small = replace(settings, forward_queue_bytes=MIB, max_message_bytes=MIB)
    with two_receivers() as (hanging, well):
        hanging.answers.clear()
        async with build(replace(small, forward=(hanging.address, well.address))) as insight:
            for number in numbers:
                answer = await export(settings, number, padding=MIB // 4)
                assert answer == ExportTraceServiceResponse()
                await got(well, *range(1, number + 1))
            assert await stored(insight, *numbers)
            assert dropped(insight, hanging.address, "queue_full") == len(numbers) - 3
            assert dropped(insight, well.address, "queue_full") == 0
            queued = value(insight, "headrace_insight_forward_queue_bytes", receiver=hanging.address)
            assert 3 * MIB // 4 < queued <= MIB
            hanging.answers.set()
            await got(hanging, 1, 2, 3)


async def test_what_waits_leaves_before_insight_ends(settings: Settings) -> None:
    """The last spans of a mesh that stops are not lost."""
    with receiving() as receiver:
        async with build(replace(settings, forward=(receiver.address,))):
            await export(settings, 1, 2, 3)
        assert len(receiver.spans()) == 3


async def test_a_refused_batch_is_given_up(settings: Settings) -> None:
    """A receiver that says no is not asked again with the same spans; it is with the next."""
    with receiving() as receiver:
        receiver.refusals.append(grpc.StatusCode.INVALID_ARGUMENT)
        async with build(replace(settings, forward=(receiver.address,))) as insight:
            await export(settings, 1, 2)
            await until(lambda: dropped(insight, receiver.address, "refused") == 2, "refused")
            await export(settings, 3)
            await got(receiver, 3)
        assert receiver.calls == 2


async def test_an_overloaded_receiver_is_asked_again(settings: Settings) -> None:
    """UNAVAILABLE took nothing: the same spans are sent until they are taken, and arrive once."""
    with receiving() as receiver:
        receiver.refusals.append(grpc.StatusCode.UNAVAILABLE)
        async with build(replace(settings, forward=(receiver.address,))) as insight:
            await export(settings, 1, 2)
            await got(receiver, 1, 2)
            assert dropped(insight, receiver.address, "refused") == 0


def counted() -> tuple[InsightMetrics, Callable[[str], float]]:
    """Metrics, and what they say of a receiver's drops."""
    registry = CollectorRegistry()

    def of(reason: str) -> float:
        samples = [
            sample.value
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "headrace_insight_forward_dropped_spans_total"
            and sample.labels["reason"] == reason
        ]
        return sum(samples)

    return InsightMetrics(registry), of


async def test_a_batch_without_an_answer_is_not_sent_twice() -> None:
    """The receiver may have kept it: a Jaeger would show each span twice. It is counted, the next one goes."""
    metrics, drops = counted()
    with receiving() as receiver:
        receiver.answers.clear()
        async with forwarding([receiver.address], metrics, queue_bytes=MIB, answer_s=0.2) as fanout:
            fanout.offer(otlp_request(otlp_span(1, 1)))
            await until(lambda: drops("unanswered") == 1, "given up")
            receiver.answers.set()
            fanout.offer(otlp_request(otlp_span(2, 2)))
            await until(lambda: receiver.calls == 2, "the next one is sent")
        assert (receiver.calls, drops("stopped")) == (2, 0)


async def test_a_dead_receiver_does_not_keep_insight_from_ending() -> None:
    """The end waits for its bound only; what never left is counted."""
    metrics, drops = counted()
    with receiving() as gone:
        address = gone.address
    async with (
        asyncio.timeout(FAST_S),
        forwarding([address], metrics, queue_bytes=MIB, flush_s=0.0) as fanout,
    ):
        fanout.offer(otlp_request(otlp_span(1, 1), otlp_span(1, 2)))
    assert drops("stopped") == 2


async def test_what_was_never_reached_is_not_given_up() -> None:
    """A port that accepts and then says nothing took no spans: they wait, however long an answer may take."""
    metrics, drops = counted()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        async with forwarding([address], metrics, queue_bytes=MIB, answer_s=0.05, flush_s=0.5) as fanout:
            fanout.offer(otlp_request(otlp_span(1, 1)))
    assert (drops("unanswered"), drops("stopped")) == (0, 1)


async def test_an_insight_that_keeps_nothing_says_so(
    settings: Settings, token: Callable[[str], Credentials]
) -> None:
    """Spans are passed on, no file is made, and questions are refused with the reason."""
    with receiving() as receiver:
        async with (
            build(replace(settings, keep=False, forward=(receiver.address,))) as insight,
            open_channel(insight.server.address) as channel,
        ):
            assert await export(settings, 1) == ExportTraceServiceResponse()
            await got(receiver, 1)
            assert value(insight, "headrace_insight_spans_received_total") == 1
            client = InsightClient(channel, token("observe"))
            for question in (client.trace(trace_id(1).hex()), client.newest()):
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await question
                assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
                assert reason_of(raised.value) == "TRACES_NOT_KEPT"
        assert not settings.store.exists()
