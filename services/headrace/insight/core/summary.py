"""What is kept of a trace as a whole, so that a list of traces reads no spans."""

from collections.abc import Sequence
from typing import NamedTuple

from headrace.insight.spans import TENANT, Span

MAX_SERVICES = 32
MAX_TENANTS = 8
"""More than one is a trace that several tenants sent spans into."""

SPAN_OVERHEAD_BYTES = 120
LINK_BYTES = 160
"""A link is stored with its span, in a table of its own, and in that one's index."""


class TraceRow(NamedTuple):
    """A trace as a whole. `root_*` is of the earliest span while no root is known.

    `services`, and the `tenants` that its spans name, are newline-separated, with a
    newline at both ends.
    """

    start_ns: int
    end_ns: int
    spans: int
    bytes: int
    failed: bool
    rooted: bool
    root_start_ns: int
    root_name: str
    root_service: str
    services: str
    tenants: str


def grown(row: TraceRow | None, spans: Sequence[Span], count: int, size: int) -> TraceRow:
    """The trace with `spans` (at least one) of `size` bytes added, of which `count` were new."""
    first = min(spans, key=_rootness)
    candidate = (bool(first.parent_id), first.start_ns)
    root = (first.start_ns, first.name, first.service)
    if row is not None and (not row.rooted, row.root_start_ns) <= candidate:
        root = (row.root_start_ns, row.root_name, row.root_service)
    return TraceRow(
        min([span.start_ns for span in spans] + ([row.start_ns] if row else [])),
        max([span.end_ns for span in spans] + ([row.end_ns] if row else [])),
        (row.spans if row else 0) + count,
        (row.bytes if row else 0) + size,
        (row is not None and bool(row.failed)) or any(span.failed for span in spans),
        (row is not None and bool(row.rooted)) or not first.parent_id,
        *root,
        _with(row.services if row else "\n", {span.service for span in spans}, MAX_SERVICES),
        _with(row.tenants if row else "\n", {span.attributes.get(TENANT, "") for span in spans}, MAX_TENANTS),
    )


def size_of(span: Span) -> int:
    """Bytes that the span takes in the store, roughly."""
    text = len(span.service) + len(span.name) + len(span.status_message)
    attributes = sum(len(key) + len(value) + 6 for key, value in span.attributes.items())
    return SPAN_OVERHEAD_BYTES + text + attributes + LINK_BYTES * len(span.links)


def _rootness(span: Span) -> tuple[bool, int]:
    return bool(span.parent_id), span.start_ns


def _with(names: str, more: set[str], most: int) -> str:
    for name in more - {""}:
        if f"\n{name}\n" not in names and names.count("\n") <= most:
            names += f"{name}\n"
    return names
