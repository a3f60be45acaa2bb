"""Traces and metrics of one process, made once and passed as an argument.

Spans leave in batches by OTLP over gRPC; a full queue drops the newest and the
number of drops is a metric. Whether a call is traced is decided from the
`traceparent` header before any span exists, so an unsampled call costs next to
nothing.
"""

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from prometheus_client import CollectorRegistry, Counter

from headrace.runtime.metrics import SECONDS_BUCKETS, LoopHistogram, Series
from headrace.runtime.settings import SettingsReader

CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}

# Codes for which OpenTelemetry's RPC conventions mark a server span as failed.
SERVER_FAULTS = frozenset(
    code.value[0]
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)

# Version ff and identifiers of zeros are invalid (W3C Trace Context, section 3.2).
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)

EXPORT_QUEUE_SPANS = 8192
EXPORT_BATCH_SPANS = 512
EXPORT_DELAY_MS = 500


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Where spans go, and how many traces start here.

    `otlp` lists OTLP gRPC receivers, `host:port` or `unix:/path`; each gets
    every span. `sample_ratio` holds for traces that begin in this process.
    """

    otlp: tuple[str, ...] = ()
    sample_ratio: float = 1.0

    @classmethod
    def read(cls, values: Mapping[str, str]) -> "TelemetrySettings":
        reader = SettingsReader(values, "HEADRACE_TELEMETRY")
        settings = cls(
            otlp=tuple(part for part in reader.text("OTLP", "").split(",") if part),
            sample_ratio=reader.number("SAMPLE_RATIO", 1.0, low=0.0, high=1.0),
        )
        reader.finish()
        return settings


class Telemetry:
    """The tracer and the metrics of one process."""

    def __init__(self, service: str, provider: TracerProvider, sample_ratio: float = 1.0) -> None:
        self.service = service
        self.tracer: Tracer = provider.get_tracer("headrace")
        self.registry = CollectorRegistry()
        self.dropped_spans = Counter(
            "headrace_telemetry_dropped_spans",
            "Spans that no receiver took.",
            registry=self.registry,
        )
        self.sample_ratio = sample_ratio
        self._recording = True
        self._calls = LoopHistogram(
            "rpc_server_call_duration_seconds",
            "Time from a request's arrival to its answer.",
            ("rpc_method", "rpc_response_status_code"),
            SECONDS_BUCKETS,
            self.registry,
        )
        self._series: dict[tuple[str, int], Series] = {}

    def begin(self, path: str, traceparent: str | None) -> tuple[Span, str]:
        """The server span of a call of method `path`, and its trace.

        A valid `traceparent` decides whether the span is recorded; without one,
        the sample ratio does. The trace is 32 hexadecimal digits, known for an
        unsampled call too; empty for a call without one. Ends in `end`.
        """
        parent = TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if parent is None:
            if not self._recording or random.random() >= self.sample_ratio:
                return INVALID_SPAN, ""
            span = self._start(path, Context())
            return span, f"{span.get_span_context().trace_id:032x}"
        trace_id = parent[1]
        if not self._recording or parent[3][1] not in "13579bdf":
            return INVALID_SPAN, trace_id
        context = set_span_in_context(NonRecordingSpan(_span_context(parent)), Context())
        return self._start(path, context), trace_id

    def sample(self, ratio: float, *, recording: bool) -> None:
        """From now on: `ratio` of the traces that begin here; without `recording` no span of any trace."""
        self.sample_ratio = ratio
        self._recording = recording

    def end(self, path: str, span: Span, code: int, seconds: float) -> None:
        """Ends the span and counts the call; `code` is gRPC's number."""
        series = self._series.get((path, code))
        if series is None:
            series = self._calls.series(path[1:], CODE_NAMES.get(code, "UNKNOWN"))
            self._series[path, code] = series
        series.observe(seconds)
        if span.is_recording():
            span.set_attribute("rpc.response.status_code", CODE_NAMES.get(code, "UNKNOWN"))
            if code in SERVER_FAULTS:
                span.set_status(StatusCode.ERROR)
            span.end()

    def _start(self, path: str, context: Context) -> Span:
        return self.tracer.start_span(
            path[1:],
            context=context,
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": path[1:]},
        )


def _span_context(parts: re.Match[str]) -> SpanContext:
    return SpanContext(
        int(parts[1], 16),
        int(parts[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(parts[3], 16)),
    )


class CountedExporter(SpanExporter):
    """Counts the spans that the exporter inside gave up on; `done` hears how many were sent or given up."""

    def __init__(self, inner: SpanExporter, dropped: Counter, done: Callable[[int], None]) -> None:
        self._inner = inner
        self._dropped = dropped
        self._done = done

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        finally:
            self._done(len(spans))
        if result is not SpanExportResult.SUCCESS:
            self._dropped.inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class BoundedSpans(SpanProcessor):
    """Sends ended spans in batches; drops the newest, and counts it, while `most` wait or are under way.

    The queue of the SDK itself drops without a word to us, so it is never let to be full.
    """

    def __init__(self, exporter: SpanExporter, dropped: Counter, most: int = EXPORT_QUEUE_SPANS) -> None:
        self._dropped = dropped
        self._most = most
        self._held = 0
        self._lock = threading.Lock()  # spans end on the loop's thread, and are sent on another
        self._batches = BatchSpanProcessor(
            CountedExporter(exporter, dropped, self._done),
            max_queue_size=most,
            max_export_batch_size=min(most, EXPORT_BATCH_SPANS),
            schedule_delay_millis=EXPORT_DELAY_MS,
        )

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            full = self._held >= self._most
            self._held += not full
        if full:
            self._dropped.inc()
        else:
            self._batches.on_end(span)

    def shutdown(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)

    def _done(self, count: int) -> None:
        with self._lock:
            self._held -= count


@asynccontextmanager
async def telemetry(service: str, settings: TelemetrySettings, replica: str = "") -> AsyncIterator[Telemetry]:
    """The process's telemetry; flushes what is queued when it closes.

    `replica` is OpenTelemetry's service.instance.id.
    """
    provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(service, replica), shutdown_on_exit=False)
    result = Telemetry(service, provider, settings.sample_ratio)
    for target in settings.otlp:
        provider.add_span_processor(
            BoundedSpans(OTLPSpanExporter(endpoint=target, insecure=True, timeout=5), result.dropped_spans)
        )
    try:
        yield result
    finally:
        await asyncio.to_thread(provider.shutdown)


def quiet(service: str = "test", sample_ratio: float = 1.0) -> tuple[Telemetry, InMemorySpanExporter]:
    """Telemetry that sends nothing, and the exporter that keeps its spans."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Telemetry(service, provider, sample_ratio), exporter


def _resource(service: str, replica: str) -> Resource:
    attributes = {"service.name": service, "service.namespace": "headrace"}
    if replica:
        attributes["service.instance.id"] = replica
    return Resource(attributes)
