"""The RPCs: decode, ask the store's thread, encode."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from headrace.insight.core.otlp import invalid_count, span_count
from headrace.insight.errors import field_invalid, trace_not_found
from headrace.insight.figures import Overview
from headrace.insight.forward import Fanout
from headrace.insight.overview_wire import overview_message
from headrace.insight.readers import only, seen_overview, seen_trace
from headrace.insight.spans import Span, Summary
from headrace.insight.store import SqliteStore
from headrace.insight.v1 import trace_pb2
from headrace.insight.v1.insight_service_pb2 import (
    CreateWebLinkRequest,
    CreateWebLinkResponse,
    GetOverviewRequest,
    GetOverviewResponse,
    GetTraceRequest,
    GetTraceResponse,
    ListTracesRequest,
    ListTracesResponse,
)
from headrace.runtime.rpc import Call, Caller

T = TypeVar("T")

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000
HEX_DIGITS = frozenset("0123456789abcdef")


class Traces(Protocol):
    """Where traces are kept, if they are."""

    def offer(self, request: ExportTraceServiceRequest) -> bool:
        """Takes the request's spans; False when there was no room."""

    async def ask(self, question: Callable[[SqliteStore], T]) -> T:
        """The question's answer."""


class Figures(Protocol):
    """What the mesh does now."""

    def overview(self, *, history: bool = False) -> Overview:
        """The figures; raises FIGURES_NOT_COLLECTED."""


class Links(Protocol):
    """The way in to the web page."""

    def link(self, caller: Caller) -> str:
        """Its address with a way in for this caller, once; raises PAGE_NOT_SERVED."""


class TraceServicer:
    """opentelemetry.proto.collector.trace.v1.TraceService."""

    def __init__(self, traces: Traces, fanout: Fanout) -> None:
        self._traces = traces
        self._fanout = fanout

    async def Export(self, request: ExportTraceServiceRequest, _call: Call) -> ExportTraceServiceResponse:
        """Takes spans. What is refused is told as OTLP's partial success: it must not be sent again."""
        self._fanout.offer(request)
        if not self._traces.offer(request):
            return _partly(span_count(request), "the queue before the store is full")
        if invalid := invalid_count(request):
            return _partly(invalid, "trace_id must have 16 bytes and span_id 8, not all zero")
        return ExportTraceServiceResponse()


class InsightServicer:
    """headrace.insight.v1.InsightService."""

    def __init__(self, traces: Traces, figures: Figures, links: Links) -> None:
        self._traces = traces
        self._figures = figures
        self._links = links

    async def GetTrace(self, request: GetTraceRequest, call: Call) -> GetTraceResponse:
        trace_id = request.trace_id.lower()
        if len(trace_id) != 32 or not HEX_DIGITS.issuperset(trace_id) or not trace_id.strip("0"):
            raise field_invalid("trace_id", "must be 32 hexadecimal digits, not all zero")
        trace = seen_trace(await self._traces.ask(lambda store: store.trace(trace_id)), call.caller)
        if not trace.spans:
            raise trace_not_found(trace_id)
        return GetTraceResponse(
            spans=map(_span_message, trace.spans), linked_spans=map(_span_message, trace.linked)
        )

    async def ListTraces(self, request: ListTracesRequest, call: Call) -> ListTracesResponse:
        if not 0 <= request.limit <= MAX_LIMIT:
            raise field_invalid("limit", f"must be between 0 and {MAX_LIMIT}")
        least_ns = request.min_duration.seconds * 10**9 + request.min_duration.nanos
        summaries = await self._traces.ask(
            lambda store: store.newest(
                request.limit or DEFAULT_LIMIT,
                request.service,
                tenant=only(call.caller),
                model=request.model,
                least_ns=least_ns,
                failed=request.failed_only,
            )
        )
        return ListTracesResponse(traces=map(_summary_message, summaries))

    async def GetOverview(self, request: GetOverviewRequest, call: Call) -> GetOverviewResponse:
        overview = seen_overview(self._figures.overview(history=request.history), call.caller)
        return GetOverviewResponse(overview=overview_message(overview))

    async def CreateWebLink(self, _request: CreateWebLinkRequest, call: Call) -> CreateWebLinkResponse:
        return CreateWebLinkResponse(url=self._links.link(call.caller))


def _partly(rejected: int, why: str) -> ExportTraceServiceResponse:
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=why)
    )


def _span_message(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        service=span.service,
        name=span.name,
        kind=trace_pb2.SpanKind.ValueType(span.kind),
        start_time=_timestamp(span.start_ns),
        duration=_duration(span.duration_ns),
        attributes=span.attributes,
        links=[trace_pb2.SpanLink(trace_id=link.trace_id, span_id=link.span_id) for link in span.links],
        status=trace_pb2.SpanStatus.ValueType(span.status),
        status_message=span.status_message,
    )


def _summary_message(summary: Summary) -> trace_pb2.TraceSummary:
    return trace_pb2.TraceSummary(
        trace_id=summary.trace_id,
        root_name=summary.root_name,
        root_service=summary.root_service,
        start_time=_timestamp(summary.start_ns),
        duration=_duration(summary.end_ns - summary.start_ns),
        span_count=summary.span_count,
        failed=summary.failed,
        model=summary.model,
    )


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // 10**9, nanos=ns % 10**9)


def _duration(ns: int) -> Duration:
    return Duration(seconds=ns // 10**9, nanos=ns % 10**9)
