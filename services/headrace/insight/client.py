"""Asks a running insight, by its public contract only. What neighbours import."""

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.insight.document import overview_document
from headrace.insight.figures import Estimate, Health, ModelFigures, Overview, ProcessFigures
from headrace.insight.overview_wire import overview_of
from headrace.insight.spans import Link, Span, Summary, Trace
from headrace.insight.v1 import trace_pb2
from headrace.insight.v1.insight_service_pb2 import (
    CreateWebLinkRequest,
    GetOverviewRequest,
    GetTraceRequest,
    ListTracesRequest,
)
from headrace.insight.v1.insight_service_pb2_grpc import InsightServiceStub

__all__ = [
    "Estimate",
    "Health",
    "InsightClient",
    "Link",
    "ModelFigures",
    "Overview",
    "ProcessFigures",
    "Span",
    "Summary",
    "Trace",
    "overview_document",
]


class InsightClient:
    """One insight behind a channel that its caller opened and closes.

    `credentials` is the call metadata that carries the caller's token (see
    `runtime.channels.bearer`); its scope must include `observe`. Every method
    raises `grpc.aio.AioRpcError`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        credentials: tuple[tuple[str, str], ...] = (),
        *,
        deadline_s: float = 5.0,
    ) -> None:
        self._stub = InsightServiceStub(channel)
        self._credentials = credentials
        self._deadline_s = deadline_s

    async def trace(self, trace_id: str) -> Trace:
        """The trace's spans by start, and the spans linked with them; NOT_FOUND without any."""
        answer = await self._stub.GetTrace(
            GetTraceRequest(trace_id=trace_id), timeout=self._deadline_s, metadata=self._credentials
        )
        return Trace(tuple(map(_span, answer.spans)), tuple(map(_span, answer.linked_spans)))

    async def overview(self, *, history: bool = False) -> Overview:
        """What the mesh does now; with `history`, in the last ten minutes too. FIGURES_NOT_COLLECTED is possible."""
        answer = await self._stub.GetOverview(
            GetOverviewRequest(history=history), timeout=self._deadline_s, metadata=self._credentials
        )
        return overview_of(answer.overview)

    async def web_link(self) -> str:
        """The web page's address with a way in, once; PAGE_NOT_SERVED is possible."""
        answer = await self._stub.CreateWebLink(
            CreateWebLinkRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return answer.url

    async def newest(self, limit: int = 20, service: str = "") -> list[Summary]:
        """The traces that started last, newest first; with `service`, those in which it took part."""
        answer = await self._stub.ListTraces(
            ListTracesRequest(limit=limit, service=service),
            timeout=self._deadline_s,
            metadata=self._credentials,
        )
        return list(map(_summary, answer.traces))


def _span(message: trace_pb2.Span) -> Span:
    start = _nanoseconds(message.start_time)
    return Span(
        trace_id=message.trace_id,
        span_id=message.span_id,
        parent_id=message.parent_span_id,
        service=message.service,
        name=message.name,
        start_ns=start,
        end_ns=start + _nanoseconds(message.duration),
        kind=message.kind,
        status=message.status,
        status_message=message.status_message,
        attributes=dict(message.attributes),
        links=tuple(Link(link.trace_id, link.span_id) for link in message.links),
    )


def _summary(message: trace_pb2.TraceSummary) -> Summary:
    start = _nanoseconds(message.start_time)
    return Summary(
        trace_id=message.trace_id,
        root_name=message.root_name,
        root_service=message.root_service,
        start_ns=start,
        end_ns=start + _nanoseconds(message.duration),
        span_count=message.span_count,
        failed=message.failed,
        model=message.model,
    )


def _nanoseconds(message: Timestamp | Duration) -> int:
    return message.seconds * 10**9 + message.nanos
