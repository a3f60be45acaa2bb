"""The traces on disk: one SQLite file, bounded in bytes, used by one thread.

All of the file, its write-ahead log included, stays within the bound: pages are
capped by SQLite itself, and the oldest traces leave before the cap is reached.
Traces are disposable: a file that can't be read is put aside, not repaired.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from headrace.insight.core.summary import TraceRow, grown, size_of
from headrace.insight.queries import LINKED, NEWEST, TRACE
from headrace.insight.schema import PAGE_BYTES, opened
from headrace.insight.spans import Link, Span, Summary, Trace

WAL_SHARE = 4
"""The log's part of the bound: a quarter, and no more than it ever needs."""
WAL_BYTES = 24 * 1024 * 1024
HIGH, LOW = 0.9, 0.87
"""Eviction starts above HIGH of the page cap and ends at LOW."""
EVICTED_AT_ONCE = 64
"""Traces in one transaction of an eviction, which bounds the log."""
MAX_LINKED_SPANS = 256
MAX_LINKED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: of everything, and of each trace."""

    store_bytes: int
    trace_spans: int
    trace_bytes: int


@dataclass(slots=True)
class Added:
    """What became of the spans of one transaction."""

    stored: int = 0
    duplicate: int = 0
    trace_full: int = 0


class SqliteStore:
    """Not thread-safe: whoever opens it is the only one to use it."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        """Opens or creates the file; raises `sqlite3.Error` or `OSError` when neither works."""
        self._bounds = bounds
        wal_bytes = min(WAL_BYTES, bounds.store_bytes // WAL_SHARE)
        self._max_pages = (bounds.store_bytes - wal_bytes) // PAGE_BYTES
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = opened(path, wal_bytes)
        self._shrink()

    def close(self) -> None:
        """Moves the log into the file and closes it."""
        self._db.close()

    def has(self, trace_id: bytes) -> bool:
        """Whether spans of this trace are stored."""
        found = self._db.execute("SELECT 1 FROM traces WHERE trace_id = ?", (trace_id,))
        return found.fetchone() is not None

    def add(self, traces: Mapping[bytes, Sequence[Span]], now_ns: int) -> Added:
        """Stores the spans in one transaction; a span that is stored already stays as it is.

        Raises `sqlite3.Error` and stores nothing when the file can't take them.
        """
        added = Added()
        with self._db:
            self._db.execute("BEGIN")
            for trace_id, spans in traces.items():
                self._add_trace(trace_id, spans, now_ns, added)
        return added

    def trace(self, trace_id: str) -> Trace:
        """The trace and what is linked with it, by start; empty when nothing is stored."""
        key = bytes.fromhex(trace_id)
        spans = map(_span, self._db.execute(TRACE, (key,)))
        linked = map(_span, self._db.execute(LINKED, (key, MAX_LINKED_SPANS)))
        return Trace(tuple(spans), tuple(_within(linked, MAX_LINKED_BYTES)))

    def newest(
        self,
        limit: int,
        service: str = "",
        *,
        tenant: str = "",
        model: str = "",
        least_ns: int = 0,
        failed: bool = False,
    ) -> list[Summary]:
        """The traces that started last.

        Of those in which `service` took part, that are `tenant`'s and nobody else's,
        are of `model` and among the newest `MODEL_TRACES`, lasted `least_ns` or failed,
        if asked for.
        """
        values = {"limit": limit, "service": service, "tenant": tenant, "model": model}
        bounds = {"least_ns": least_ns, "failed": failed}
        rows = self._db.execute(NEWEST[bool(model), bool(tenant)], values | bounds)
        return list(map(_summary, rows))

    def evict_before(self, seen_ns: int) -> int:
        """Removes the traces first seen before then, and says how many."""
        last = self._db.execute("SELECT max(id) FROM traces WHERE seen_ns < ?", (seen_ns,)).fetchone()[0]
        return self._remove_through(last) if last is not None else 0

    def make_room(self, size: int) -> int:
        """Removes the oldest traces unless `size` more bytes fit, and says how many."""
        pages = size // PAGE_BYTES
        evicted = 0
        if self._used_pages() + pages > HIGH * self._max_pages:
            while self._used_pages() + pages > LOW * self._max_pages and (some := self._remove_oldest()):
                evicted += some
        return evicted

    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        return self._used_pages() * PAGE_BYTES

    def _add_trace(self, trace_id: bytes, spans: Sequence[Span], now_ns: int, added: Added) -> None:
        row_id, before = self._row(trace_id)
        room = self._bounds.trace_bytes - (before.bytes if before else 0)
        places = self._bounds.trace_spans - (before.spans if before else 0)
        sizes = list(accumulate(map(size_of, spans)))
        fitting = spans[: max(0, min(places, bisect_right(sizes, room)))]
        added.trace_full += len(spans) - len(fitting)
        if not fitting:
            return
        if row_id is None:
            row_id = self._new_row(trace_id, now_ns)
        inserted = self._insert_spans(row_id, fitting)
        added.stored += inserted
        added.duplicate += len(fitting) - inserted
        self._update_row(row_id, grown(before, fitting, inserted, sizes[len(fitting) - 1]))

    def _row(self, trace_id: bytes) -> tuple[int | None, TraceRow | None]:
        found = self._db.execute(
            "SELECT id, start_ns, end_ns, spans, bytes, failed, rooted, root_start_ns, root_name, "
            "root_service, services, tenants FROM traces WHERE trace_id = ?",
            (trace_id,),
        ).fetchone()
        return (found[0], TraceRow(*found[1:])) if found else (None, None)

    def _new_row(self, trace_id: bytes, now_ns: int) -> int:
        cursor = self._db.execute(
            "INSERT INTO traces VALUES (NULL, ?, ?, 0, 0, 0, 0, 0, 0, 0, '', '', '', '')", (trace_id, now_ns)
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _update_row(self, row_id: int, row: TraceRow) -> None:
        self._db.execute(
            "UPDATE traces SET start_ns = ?, end_ns = ?, spans = ?, bytes = ?, failed = ?, rooted = ?, "
            "root_start_ns = ?, root_name = ?, root_service = ?, services = ?, tenants = ? WHERE id = ?",
            (*row, row_id),
        )

    def _insert_spans(self, row_id: int, spans: Sequence[Span]) -> int:
        """How many were new."""
        cursor = self._db.executemany(
            "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (_columns(row_id, span) for span in spans),
        )
        inserted = cursor.rowcount
        links = [
            (row_id, bytes.fromhex(span.span_id), bytes.fromhex(link.trace_id), bytes.fromhex(link.span_id))
            for span in spans
            for link in span.links
        ]
        if links:
            self._db.executemany("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", links)
        return inserted

    def _used_pages(self) -> int:
        return self._pragma("page_count") - self._pragma("freelist_count")

    def _remove_oldest(self) -> int:
        last = self._db.execute(
            "SELECT max(id) FROM (SELECT id FROM traces ORDER BY id LIMIT ?)", (EVICTED_AT_ONCE,)
        ).fetchone()[0]
        return self._remove_through(last) if last is not None else 0

    def _remove_through(self, last: int) -> int:
        """Removes traces up to this row, the oldest ones, a few in each transaction."""
        removed = 0
        while True:
            with self._db:
                self._db.execute("BEGIN")
                upto = self._db.execute(
                    "SELECT max(id) FROM (SELECT id FROM traces WHERE id <= ? ORDER BY id LIMIT ?)",
                    (last, EVICTED_AT_ONCE),
                ).fetchone()[0]
                if upto is None:
                    return removed
                self._db.execute("DELETE FROM spans WHERE trace <= ?", (upto,))
                self._db.execute("DELETE FROM links WHERE trace <= ?", (upto,))
                removed += self._db.execute("DELETE FROM traces WHERE id <= ?", (upto,)).rowcount

    def _shrink(self) -> None:
        """Brings a file that a larger bound let grow within this one, then caps it."""
        if self._pragma("page_count") > self._max_pages:
            while self._used_pages() > LOW * self._max_pages and self._remove_oldest():
                pass
            # A script: `execute` would stop after the first page, for which there is no row.
            self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        self._db.execute(f"PRAGMA max_page_count = {self._max_pages}").fetchall()

    def _pragma(self, name: str) -> int:
        value: int = self._db.execute(f"PRAGMA {name}").fetchone()[0]
        return value


def _within(spans: Iterable[Span], room: int) -> Iterator[Span]:
    """The first spans that fit into so many bytes."""
    for span in spans:
        room -= size_of(span)
        if room < 0:
            return
        yield span


def _summary(row: Any) -> Summary:
    trace_id, root_name, root_service, start_ns, end_ns, spans, failed, model = row
    name = model if isinstance(model, str) else ""  # a client may have written anything
    return Summary(trace_id.hex(), root_name, root_service, start_ns, end_ns, spans, bool(failed), name)


def _columns(row_id: int, span: Span) -> tuple[object, ...]:
    return (
        row_id,
        bytes.fromhex(span.span_id),
        bytes.fromhex(span.parent_id),
        span.service,
        span.name,
        span.kind,
        span.start_ns,
        span.end_ns,
        span.status,
        span.status_message,
        msgspec.json.encode(span.attributes).decode() if span.attributes else "",
        " ".join(f"{link.trace_id} {link.span_id}" for link in span.links),
    )


def _span(row: Any) -> Span:
    trace_id, span_id, parent_id, service, name, start, end, kind, status, message, attributes, links = row
    identifiers = links.split()
    return Span(
        trace_id=trace_id.hex(),
        span_id=span_id.hex(),
        parent_id=parent_id.hex(),
        service=service,
        name=name,
        start_ns=start,
        end_ns=end,
        kind=kind,
        status=status,
        status_message=message,
        attributes=msgspec.json.decode(attributes) if attributes else {},
        links=tuple(map(Link, identifiers[::2], identifiers[1::2])),
    )
