"""Traces as insight answers with them, and questions about them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from headrace.insight.v1.insight_service_pb2 import GetTraceRequest
from headrace.insight.v1.trace_pb2 import Span
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.waiting import eventually

EXPORT_WITHIN_S = 15.0


@dataclass(frozen=True)
class Trace:
    """The spans of one trace, and those that it is linked with."""

    spans: Sequence[Span]
    linked: Sequence[Span]

    def of(self, service: str, name: str = "") -> list[Span]:
        """The trace's own spans of a service, with this name if one is given."""
        return [span for span in self.spans if span.service == service and name in ("", span.name)]

    def parent_of(self, span: Span) -> Span | None:
        """The stored span that caused `span`."""
        return next((other for other in self.spans if other.span_id == span.parent_span_id), None)


def stored(mesh: Mesh, trace_id: str) -> Trace | None:
    """What insight has of the trace now; None for nothing."""
    with mesh.insight() as stub:
        try:
            answer = stub.GetTrace(
                GetTraceRequest(trace_id=trace_id),
                timeout=CALL_TIMEOUT_S,
                metadata=bearer(mesh.operator_token),
            )
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return None
        return Trace(answer.spans, answer.linked_spans)


def trace(mesh: Mesh, trace_id: str, whole: Callable[[Trace], bool]) -> Trace:
    """The trace as soon as it is `whole`: spans arrive in batches, later than the answer."""

    def ask() -> Trace | None:
        found = stored(mesh, trace_id)
        return found if found is not None and whole(found) else None

    return eventually(ask, f"trace {trace_id} is whole", EXPORT_WITHIN_S)


def links_to(span: Span, other: Span) -> bool:
    """Whether one of the span's links points at the other."""
    return any((link.trace_id, link.span_id) == (other.trace_id, other.span_id) for link in span.links)
