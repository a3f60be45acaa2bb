"""Spans on their way into insight, from real exporters and from hostile peers."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.trace import Link, Span, StatusCode

from headrace.insight.app import Insight, build
from headrace.insight.client import InsightClient, Trace
from headrace.insight.settings import MIB, Settings
from headrace.runtime.telemetry import TelemetrySettings, telemetry
from tests.contract.insight.conftest import Credentials
from tests.fakes.insight import otlp_request, otlp_span, span_id, trace_id

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's ErrorInfo."""
    trailers = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata()))
    status = Status.FromString(trailers["grpc-status-details-bin"])
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return info.reason


def identifier(span: Span) -> str:
    """The span's trace as hexadecimal digits."""
    return f"{span.get_span_context().trace_id:032x}"


def value(insight: Insight, name: str, **labels: str) -> float:
    """What a metric says now."""
    return insight.telemetry.registry.get_sample_value(name, labels) or 0.0


async def settled(insight: Insight) -> None:
    """Returns once what was accepted is stored: see `Rig.settle` of the unit tests."""
    while value(insight, "headrace_insight_queue_bytes"):
        await insight.ingest.ask(lambda store: None)
    await insight.ingest.ask(lambda store: None)


async def test_a_real_exporter_gets_its_trace_stored(
    insight: Insight, settings: Settings, client: InsightClient
) -> None:
    """OpenTelemetry's SDK sends over the Unix socket without a token; the contract gives all of it back."""
    async with telemetry(
        "inference", TelemetrySettings((f"unix:{settings.socket}",)), "inference-0"
    ) as process:
        batch = process.tracer.start_span("batch", attributes={"headrace.model": "linear"})
        with (
            process.tracer.start_as_current_span(
                "request", attributes={"headrace.batch.size": 4}, links=[Link(batch.get_span_context())]
            ) as request,
            process.tracer.start_as_current_span("queue") as queue,
        ):
            queue.set_status(StatusCode.ERROR, "expired")
        batch.end()
    await settled(insight)
    trace = await client.trace(identifier(request))
    root, child = trace.spans
    assert (root.name, root.service, root.parent_id) == ("request", "inference", "")
    assert root.attributes == {"headrace.batch.size": "4", "service.instance.id": "inference-0"}
    assert (child.name, child.parent_id, child.status_message) == ("queue", root.span_id, "expired")
    assert child.failed
    assert root.start_ns <= child.start_ns <= child.end_ns <= root.end_ns
    assert [span.name for span in trace.linked] == ["batch"]
    assert (root.links[0].trace_id, root.links[0].span_id) == (
        trace.linked[0].trace_id,
        trace.linked[0].span_id,
    )


async def test_the_batch_finds_its_requests(
    insight: Insight, settings: Settings, client: InsightClient
) -> None:
    """Asked for the batch's trace, insight answers with the requests that link to it."""
    async with telemetry("inference", TelemetrySettings((f"unix:{settings.socket}",))) as process:
        batch = process.tracer.start_span("batch")
        for number in range(3):
            process.tracer.start_span(f"request-{number}", links=[Link(batch.get_span_context())]).end()
        batch.end()
    await settled(insight)
    trace = await client.trace(identifier(batch))
    assert [span.name for span in trace.spans] == ["batch"]
    assert [span.name for span in trace.linked] == ["request-0", "request-1", "request-2"]


async def test_insight_makes_no_spans_of_its_own(
    insight: Insight, local: grpc.aio.Channel, client: InsightClient
) -> None:
    """A sampled export and a sampled question leave no trace: nothing feeds itself."""
    parent = (("traceparent", f"00-{9:032x}-{9:016x}-01"),)
    await TraceServiceStub(local).Export(otlp_request(otlp_span(1, 1)), metadata=parent)
    await settled(insight)
    await client.trace(trace_id(1).hex())
    await settled(insight)
    assert [trace.trace_id for trace in await client.newest()] == [trace_id(1).hex()]


@pytest.mark.parametrize(
    ("scope", "code", "reason"),
    [
        ("operate", grpc.StatusCode.OK, ""),
        ("observe", grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
        ("infer", grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
        (None, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    ],
)
async def test_over_tcp_only_an_operator_may_export(
    insight: Insight,
    tcp: grpc.aio.Channel,
    token: Callable[[str], Credentials],
    scope: str | None,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    """Who may write traces may write false ones."""
    call = TraceServiceStub(tcp).Export(
        otlp_request(otlp_span(1, 1)), metadata=token(scope) if scope else (), timeout=5
    )
    if code is grpc.StatusCode.OK:
        assert await call == ExportTraceServiceResponse()
    else:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert (raised.value.code(), reason_of(raised.value)) == (code, reason)
    await settled(insight)
    stored = await insight.ingest.ask(lambda store: store.has(trace_id(1)))
    assert stored == (code is grpc.StatusCode.OK)


async def test_impossible_spans_are_told_as_partial_success(
    insight: Insight, local: grpc.aio.Channel, client: InsightClient
) -> None:
    """OTLP's answer for spans that must not be sent again; the others are stored."""
    bad = [otlp_span(1, 1) for _ in range(3)]
    bad[0].trace_id, bad[1].span_id, bad[2].trace_id = b"short", bytes(8), bytes(16)
    answer = await TraceServiceStub(local).Export(otlp_request(*bad, otlp_span(1, 2)))
    assert answer.partial_success.rejected_spans == 3
    assert "trace_id" in answer.partial_success.error_message
    await settled(insight)
    assert [span.span_id for span in (await client.trace(trace_id(1).hex())).spans] == [span_id(2).hex()]
    assert value(insight, "headrace_insight_spans_dropped_total", reason="invalid") == 3


async def test_a_huge_span_costs_kilobytes(
    insight: Insight, local: grpc.aio.Channel, client: InsightClient, settings: Settings
) -> None:
    """3 MiB of attributes in one span, and the next span is stored as always."""
    span = otlp_span(1, 1)
    for number in range(30):
        text = AnyValue(string_value="x" * 100_000)
        nested = AnyValue(array_value=ArrayValue(values=[text]))
        span.attributes.append(KeyValue(key=f"key-{number}", value=nested if number % 2 else text))
    stub = TraceServiceStub(local)
    assert await stub.Export(otlp_request(span)) == ExportTraceServiceResponse()
    await stub.Export(otlp_request(otlp_span(2, 1)))
    await settled(insight)
    (stored,) = (await client.trace(trace_id(1).hex())).spans
    assert sum(map(len, stored.attributes.values())) < 30 * 1100
    assert (await client.trace(trace_id(2).hex())).spans
    assert value(insight, "headrace_insight_spans_dropped_total", reason="store_failed") == 0


async def test_a_message_above_the_bound_is_refused_before_it_is_read(local: grpc.aio.Channel) -> None:
    """The bound is a setting; the peer hears RESOURCE_EXHAUSTED."""
    span = otlp_span(1, 1)
    span.name = "x" * 5 * MIB
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await TraceServiceStub(local).Export(otlp_request(span))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f"])
async def test_bytes_that_are_no_export_are_refused(local: grpc.aio.Channel, data: bytes) -> None:
    """INVALID_ARGUMENT with a reason, and the next export is taken."""
    call = local.unary_unary(EXPORT, bytes, bytes)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(data)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "MESSAGE_INVALID"
    assert await TraceServiceStub(local).Export(ExportTraceServiceRequest()) == ExportTraceServiceResponse()


async def test_a_full_queue_is_told_and_counted(settings: Settings) -> None:
    """With the store held up, exports go on being answered at once; what finds no room is dropped."""
    small = replace(settings, queue_bytes=MIB, max_message_bytes=MIB)
    async with build(small) as insight, grpc.aio.insecure_channel(f"unix:{small.socket}") as channel:
        span = otlp_span(1, 1)
        span.name = "x" * (MIB // 3)
        held, released = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(_: object) -> None:
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()

        holding = asyncio.create_task(insight.ingest.ask(hold))
        await held.wait()
        stub = TraceServiceStub(channel)
        answers = [await stub.Export(otlp_request(span), timeout=5) for _ in range(5)]
        released.set()
        await holding
        assert [answer.partial_success.rejected_spans for answer in answers] == [0, 0, 1, 1, 1]
        assert value(insight, "headrace_insight_spans_dropped_total", reason="queue_full") == 3


async def test_a_restart_keeps_the_traces(settings: Settings, tmp_path: Path) -> None:
    """What one insight accepted before it stopped, the next one answers with."""
    async with build(settings), grpc.aio.insecure_channel(f"unix:{settings.socket}") as channel:
        await TraceServiceStub(channel).Export(otlp_request(otlp_span(1, 1)))
    async with build(settings) as again:
        found: Trace = await again.ingest.ask(lambda store: store.trace(trace_id(1).hex()))
    assert [span.span_id for span in found.spans] == [span_id(1).hex()]
