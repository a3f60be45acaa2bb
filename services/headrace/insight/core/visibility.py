"""Which spans of a trace a tenant may see: its own, and what happened because of them.

A trace is no tenant's: whoever knows its identifier may send spans of its own
into it. So each span is judged by itself. The gateway's and the replicas' spans
of a request name its tenant; a span that names none belongs to whom its parent
belongs. A batch belongs to nobody, since it executes requests of several
tenants: it is seen from a request that it is linked with, without its other links.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from headrace.insight.spans import TENANT, Link, Span, Trace


def visible(trace: Trace, tenant: str) -> Trace:
    """The part of the trace that `tenant` may see; empty when none of it is its own."""
    owned = _owned_by(tenant, trace.spans)
    own = frozenset(Link(span.trace_id, span.span_id) for span in owned)
    pointed = {link for span in owned for link in span.links}
    linked = [
        replace(span, links=tuple(link for link in span.links if link in own))
        for span in trace.linked
        if span.attributes.get(TENANT, "") in ("", tenant)
        and (Link(span.trace_id, span.span_id) in pointed or not own.isdisjoint(span.links))
    ]
    return Trace(tuple(owned), tuple(linked))


def _owned_by(tenant: str, spans: Sequence[Span]) -> list[Span]:
    by_id = {span.span_id: span for span in spans}
    owners: dict[str, str] = {}
    return [span for span in spans if _owner(span, by_id, owners) == tenant]


def _owner(span: Span, by_id: Mapping[str, Span], owners: dict[str, str]) -> str:
    """The tenant that the span, or else the nearest span above it, names; empty for none. Remembers what it learns."""
    path: dict[str, None] = {}  # without recursion: a chain may be as long as a trace; and it may be a circle
    at: Span | None = span
    owner = ""
    while at is not None and at.span_id not in path:
        path[at.span_id] = None
        owner = owners.get(at.span_id, at.attributes.get(TENANT, ""))
        if owner:
            break
        at = by_id.get(at.parent_id)
    owners.update(dict.fromkeys(path, owner))
    return owner
