"""Traces as the JSON that the web page reads: lists, and one as the rows of its waterfall."""

from collections.abc import Iterable

from headrace.insight.spans import Summary, Trace
from headrace.insight.waterfall import Row, waterfall

KINDS = ("", "internal", "server", "client", "producer", "consumer")
"""By OpenTelemetry's numbers."""

Document = dict[str, object]


def list_document(summaries: Iterable[Summary]) -> Document:
    """The traces, as they come."""
    return {"traces": [_summary(summary) for summary in summaries]}


def trace_document(trace_id: str, trace: Trace) -> Document:
    """One trace: a row for each span, those of other traces that are linked with it too."""
    return {"trace_id": trace_id, "rows": [_row(row) for row in waterfall(trace.spans, trace.linked)]}


def _summary(summary: Summary) -> Document:
    return {
        "trace_id": summary.trace_id,
        "name": summary.root_name,
        "service": summary.root_service,
        "model": summary.model,
        "start_ms": summary.start_ns / 1e6,
        "duration_ms": (summary.end_ns - summary.start_ns) / 1e6,
        "spans": summary.span_count,
        "failed": summary.failed,
    }


def _row(row: Row) -> Document:
    span = row.span
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "name": row.label,
        "service": row.service,
        "kind": KINDS[span.kind] if span.kind < len(KINDS) else "",
        "depth": row.depth,
        "offset_ms": row.offset_ns / 1e6,
        "duration_ms": row.duration_ns / 1e6,
        "start_ms": span.start_ns / 1e6,
        "bar_start": row.bar_start,
        "bar_width": row.bar_width,
        "linked": row.linked,
        "detached": row.detached,
        "failed": span.failed,
        "status_message": span.status_message,
        "attributes": dict(span.attributes),
        "links": [link.trace_id for link in span.links],
    }
