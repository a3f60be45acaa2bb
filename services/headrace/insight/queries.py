"""The store's SQL that reads: one trace with what it is linked with, and lists of traces."""

MODEL_TRACES = 5000
"""How many of the newest traces are looked through for those of a model: it is named in their spans only."""

_SELECT_SPANS = (
    "SELECT t.trace_id, s.span_id, s.parent_id, s.service, s.name, s.start_ns, s.end_ns, s.kind, s.status, "
    "s.status_message, s.attributes, s.links FROM spans s JOIN traces t ON t.id = s.trace "
)
TRACE = _SELECT_SPANS + "WHERE t.trace_id = ?1 ORDER BY s.start_ns, s.span_id"
# Where the trace's links point to, and the spans whose links point to a span of the trace.
LINKED = (
    _SELECT_SPANS  # noqa: S608 - joined from constants
    + "JOIN (SELECT o.id AS trace, l.to_span AS span_id FROM links l "
    "JOIN traces m ON m.id = l.trace JOIN traces o ON o.trace_id = l.to_trace WHERE m.trace_id = ?1 "
    "UNION SELECT l.trace, l.span_id FROM links l JOIN traces m ON m.trace_id = l.to_trace "
    "JOIN spans mine ON mine.trace = m.id AND mine.span_id = l.to_span WHERE l.to_trace = ?1) k "
    "ON k.trace = s.trace AND k.span_id = s.span_id "
    "WHERE t.trace_id <> ?1 ORDER BY s.start_ns, s.span_id LIMIT ?2"
)

_OF_TENANT = "AND tenants = char(10) || :tenant || char(10) "
_ORDER = "ORDER BY start_ns DESC, id DESC "
_SUMMARIES = (
    "SELECT trace_id, root_name, root_service, start_ns, end_ns, spans, failed, "
    """(SELECT json_extract(s.attributes, '$."headrace.model"') FROM spans s WHERE s.trace = t.id """
    "AND instr(s.attributes, 'headrace.model') LIMIT 1) FROM {} t "
    "WHERE (:service = '' OR instr(services, char(10) || :service || char(10))) "
    "AND end_ns - start_ns >= :least_ns AND (NOT :failed OR failed) "
)
# Not every span has attributes, which are JSON then.
_OF_MODEL = (
    "AND EXISTS (SELECT 1 FROM spans s WHERE s.trace = t.id AND s.attributes <> '' "
    """AND json_extract(s.attributes, '$."headrace.model"') = :model) """
)


def _newest(*, model: bool, tenant: bool) -> str:
    of_tenant = _OF_TENANT if tenant else ""
    latest = f"(SELECT * FROM traces WHERE true {of_tenant}{_ORDER}LIMIT {MODEL_TRACES})"  # noqa: S608 - as above
    source, of_model = (latest, _OF_MODEL) if model else ("traces", of_tenant)
    return f"{_SUMMARIES.format(source)}{of_model}{_ORDER}LIMIT :limit"


NEWEST = {
    (model, tenant): _newest(model=model, tenant=tenant)
    for model in (False, True)
    for tenant in (False, True)
}
"""By whether a model and a tenant are asked for. All take :limit, :service, :least_ns, :failed, :model, :tenant."""
