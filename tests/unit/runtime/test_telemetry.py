"""Spans and metrics of calls."""

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN
from prometheus_client import CollectorRegistry, Counter, generate_latest

from headrace.runtime.telemetry import BoundedSpans, quiet

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


def test_a_sampled_parent_makes_a_child() -> None:
    """Same trace, the parent's span as parent, the code on the span."""
    telemetry, exporter = quiet()
    telemetry.end("/a.B/C", telemetry.begin("/a.B/C", SAMPLED)[0], 13, 0.1)
    (span,) = exporter.get_finished_spans()
    assert span.name == "a.B/C"
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "INTERNAL"
    assert not span.status.is_ok


def test_an_unsampled_parent_costs_no_span_and_keeps_its_identifier() -> None:
    """The decision is the gateway's, taken before any span exists."""
    telemetry, exporter = quiet()
    span, trace_id = telemetry.begin("/a.B/C", UNSAMPLED)
    telemetry.end("/a.B/C", span, 0, 0.1)
    assert span is INVALID_SPAN
    assert trace_id == TRACE
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(("ratio", "spans"), [(0.0, 0), (1.0, 1)])
def test_the_ratio_decides_for_traces_that_begin_here(ratio: float, spans: int) -> None:
    """None at 0, all at 1."""
    telemetry, exporter = quiet(sample_ratio=ratio)
    telemetry.end("/a.B/C", telemetry.begin("/a.B/C", None)[0], 0, 0.1)
    assert len(exporter.get_finished_spans()) == spans


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01\r\nx: y",
    ],
)
def test_a_malformed_parent_is_no_parent(header: str) -> None:
    """As W3C Trace Context asks; nothing of it reaches an answer's header."""
    telemetry, _ = quiet(sample_ratio=0.0)
    assert telemetry.begin("/a.B/C", header) == (INVALID_SPAN, "")


@given(st.text(max_size=60))
def test_any_header_is_survived(header: str) -> None:
    """Taken or not, never an exception."""
    telemetry, _ = quiet(sample_ratio=0.0)
    telemetry.begin("/a.B/C", header)


def test_calls_are_counted_by_method_and_code() -> None:
    """In the convention's histogram, in seconds."""
    telemetry, _ = quiet()
    telemetry.end("/a.B/C", INVALID_SPAN, 0, 0.003)
    telemetry.end("/a.B/C", INVALID_SPAN, 5, 100.0)
    labels = {"rpc_method": "a.B/C", "rpc_response_status_code": "OK"}

    def sample(name: str, **more: str) -> float | None:
        return telemetry.registry.get_sample_value(f"rpc_server_call_duration_seconds_{name}", labels | more)

    assert (sample("count"), sample("sum")) == (1, 0.003)
    assert (sample("bucket", le="0.002"), sample("bucket", le="0.005")) == (0, 1)
    assert b'rpc_response_status_code="NOT_FOUND"} 1.0' in generate_latest(telemetry.registry)


class Gated(InMemorySpanExporter):
    """A receiver that takes nothing until its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.wait()
        return super().export(spans)


def test_a_full_queue_drops_the_newest_and_counts_it() -> None:
    """While the receiver takes nothing, so many spans are held and no more; what is lost is a number, not a guess."""
    exporter, registry = Gated(), CollectorRegistry()
    dropped = Counter("dropped", "Dropped.", registry=registry)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BoundedSpans(exporter, dropped, most=16))
    tracer = provider.get_tracer("test")
    for number in range(20):
        tracer.start_span(str(number)).end()
    assert registry.get_sample_value("dropped_total") == 4
    exporter.gate.set()
    assert provider.force_flush()
    tracer.start_span("afterwards").end()
    provider.shutdown()
    sent = [span.name for span in exporter.get_finished_spans()]
    assert sent == [*map(str, range(16)), "afterwards"]
