"""A trace as rows of a waterfall. Lays out; draws nothing.

Whatever is stored of a trace, each of its spans is a row exactly once: a span
whose parent is missing starts a tree of its own, a cycle is opened at its
earliest span, of duplicates the first one counts, and times of clocks that
disagree are shown as they are, clipped to the bar. Part of what neighbours may import.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.insight.spans import Span

Key = tuple[str, str]
"""(trace, span)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the waterfall, in drawing order.

    `offset_ns` counts from the trace's first start, and is negative for a linked
    span that started earlier. The bar lies in [bar_start, bar_start + bar_width],
    as shares of the trace's length, both within 0 and 1. `linked` is a span of
    another trace, shown under the span it is linked with; `detached` one whose
    parent is not stored.
    """

    span: Span
    depth: int
    label: str
    service: str
    offset_ns: int
    duration_ns: int
    bar_start: float
    bar_width: float
    linked: bool = False
    detached: bool = False


def waterfall(spans: Sequence[Span], linked: Sequence[Span] = ()) -> list[Row]:
    """The rows of a trace: parents before children, siblings by start."""
    own = _distinct(spans)
    others = {key: span for key, span in _distinct(linked).items() if key not in own}
    nodes = own | others
    parents = _opened(_parents(own, others), nodes)
    start, length = _window(own.values() or others.values())
    rows = []
    for key, depth in _walk(nodes, parents):
        span = nodes[key]
        bar_start = _share(span.start_ns - start, length)
        rows.append(
            Row(
                span=span,
                depth=depth,
                label=span.name or "(unnamed)",
                service=span.service,
                offset_ns=span.start_ns - start,
                duration_ns=span.duration_ns,
                bar_start=bar_start,
                bar_width=max(0.0, _share(span.end_ns - start, length) - bar_start),
                linked=key in others,
                detached=key in own and bool(span.parent_id) and (span.trace_id, span.parent_id) not in own,
            )
        )
    return rows


def _distinct(spans: Iterable[Span]) -> dict[Key, Span]:
    distinct: dict[Key, Span] = {}
    for span in spans:
        distinct.setdefault((span.trace_id, span.span_id), span)
    return distinct


def _parents(own: Mapping[Key, Span], others: Mapping[Key, Span]) -> dict[Key, Key | None]:
    """Each span's parent; a linked one's is its own, if shown, or else the span it is linked with."""
    linkers = _linkers(own, others)
    parents: dict[Key, Key | None] = {}
    for group in (own, others):
        for key, span in group.items():
            parent = (span.trace_id, span.parent_id)
            parents[key] = parent if parent in group else linkers.get(key)
    return parents


def _linkers(own: Mapping[Key, Span], others: Mapping[Key, Span]) -> dict[Key, Key]:
    """For each linked span the earliest of our spans that points to it, or else that it points to."""
    linkers: dict[Key, Key] = {}
    for key in sorted(own, key=lambda key: _order(own[key])):
        for link in own[key].links:
            if tuple(link) in others:
                linkers.setdefault((link.trace_id, link.span_id), key)
    for key, span in others.items():
        for link in span.links:
            if tuple(link) in own:
                linkers.setdefault(key, (link.trace_id, link.span_id))
    return linkers


def _opened(parents: Mapping[Key, Key | None], nodes: Mapping[Key, Span]) -> dict[Key, Key | None]:
    """The same parents with every cycle opened at its earliest span."""
    opened = dict(parents)
    done: set[Key] = set()
    for first in parents:
        path: dict[Key, None] = {}
        at: Key | None = first
        while at is not None and at not in done and at not in path:
            path[at] = None
            at = opened[at]
        if at is not None and at in path:
            steps = list(path)
            cycle = steps[steps.index(at) :]
            opened[min(cycle, key=lambda key: _order(nodes[key]))] = None
        done.update(path)
    return opened


def _walk(nodes: Mapping[Key, Span], parents: Mapping[Key, Key | None]) -> Iterable[tuple[Key, int]]:
    """Depth first without recursion: a chain may be as long as a trace."""
    children: dict[Key | None, list[Key]] = {}
    for key in sorted(nodes, key=lambda key: _order(nodes[key]), reverse=True):
        children.setdefault(parents[key], []).append(key)
    stack = [(key, 0) for key in children.get(None, [])]
    while stack:
        key, depth = stack.pop()
        yield key, depth
        stack.extend((child, depth + 1) for child in children.get(key, ()))


def _order(span: Span) -> tuple[int, int, str, str]:
    """By start; of spans that start together the longer first, which holds the other."""
    return span.start_ns, -span.end_ns, span.trace_id, span.span_id


def _window(spans: Iterable[Span]) -> tuple[int, int]:
    """Start and length of what is drawn; linked spans of another time must not stretch it."""
    spans = list(spans)
    if not spans:
        return 0, 1
    start = min(span.start_ns for span in spans)
    return start, max(1, max(span.end_ns for span in spans) - start)


def _share(offset: int, length: int) -> float:
    return min(1.0, max(0.0, offset / length))
