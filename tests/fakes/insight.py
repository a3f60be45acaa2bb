"""Spans for insight's tests, as OTLP sends them and as the store keeps them."""

from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from headrace.insight.spans import TENANT, Link, Span

SECOND = 10**9


def trace_id(number: int) -> bytes:
    """A trace identifier that a reader can tell from others."""
    return number.to_bytes(16, "big")


def span_id(number: int) -> bytes:
    """A span identifier that a reader can tell from others."""
    return number.to_bytes(8, "big")


def otlp_span(
    trace: int,
    span: int,
    *,
    parent: int = 0,
    links: Sequence[tuple[int, int]] = (),
    start: int = SECOND,
    end: int = 2 * SECOND,
    tenant: str = "",
) -> OtlpSpan:
    """A span on the wire; numbers become identifiers, parent 0 is none; it names `tenant` unless empty."""
    message = OtlpSpan(
        trace_id=trace_id(trace),
        span_id=span_id(span),
        parent_span_id=span_id(parent) if parent else b"",
        name=f"work-{span}",
        start_time_unix_nano=start,
        end_time_unix_nano=end,
    )
    for to_trace, to_span in links:
        message.links.add(trace_id=trace_id(to_trace), span_id=span_id(to_span))
    if tenant:
        message.attributes.add(key=TENANT).value.string_value = tenant
    return message


def otlp_request(*spans: OtlpSpan, service: str = "inference") -> ExportTraceServiceRequest:
    """An export of one process."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = service
    resource_spans.scope_spans.add().spans.extend(spans)
    return request


def stored_span(
    trace: int,
    span: int,
    *,
    parent: int = 0,
    links: Sequence[tuple[int, int]] = (),
    start: int = SECOND,
    end: int = 2 * SECOND,
    service: str = "inference",
    status: int = 0,
    filling: int = 0,
    tenant: str = "",
) -> Span:
    """A span in our form, with `filling` bytes in an attribute."""
    return Span(
        trace_id=trace_id(trace).hex(),
        span_id=span_id(span).hex(),
        parent_id=span_id(parent).hex() if parent else "",
        service=service,
        name=f"work-{span}",
        start_ns=start,
        end_ns=end,
        status=status,
        attributes=({"filling": "x" * filling} if filling else {}) | ({TENANT: tenant} if tenant else {}),
        links=tuple(Link(trace_id(t).hex(), span_id(s).hex()) for t, s in links),
    )
