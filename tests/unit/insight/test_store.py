"""The traces on disk."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.insight.schema import SCHEMA_VERSION
from headrace.insight.settings import MIB
from headrace.insight.spans import ERROR, Link, Span
from headrace.insight.store import MAX_LINKED_SPANS, Added, Bounds, SqliteStore
from tests.fakes.insight import SECOND, stored_span, trace_id

BOUNDS = Bounds(store_bytes=16 * MIB, trace_spans=2000, trace_bytes=2 * MIB)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is, in a folder of its own that does not exist yet."""
    return tmp_path / "state" / "traces.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An empty store of the smallest bound."""
    opened = SqliteStore(path, BOUNDS)
    yield opened
    opened.close()


def add(store: SqliteStore, *spans: Span, now: int = SECOND) -> Added:
    """Stores spans as the store's thread does: room first, then one transaction."""
    traces: dict[bytes, list[Span]] = {}
    for span in spans:
        traces.setdefault(bytes.fromhex(span.trace_id), []).append(span)
    store.make_room(3 * sum(len(str(span.attributes)) + 300 for span in spans))
    return store.add(traces, now)


def footprint(path: Path) -> int:
    """Bytes of all files of the store."""
    return sum(file.stat().st_size for file in path.parent.iterdir())


def identifiers(spans: Sequence[Span]) -> list[int]:
    """The spans' identifiers as numbers."""
    return [int(span.span_id, 16) for span in spans]


def test_what_is_stored_comes_back_whole(store: SqliteStore) -> None:
    """Every field of a span survives the file."""
    span = Span(
        trace_id=f"{1:032x}",
        span_id=f"{2:016x}",
        parent_id=f"{3:016x}",
        service="inférence",
        name="a\x00b",
        start_ns=0,
        end_ns=2**63 - 1,
        kind=5,
        status=ERROR,
        status_message="why",
        attributes={"a": "1", "ü": '"'},
        links=(Link(f"{4:032x}", f"{5:016x}"), Link(f"{6:032x}", f"{7:016x}")),
    )
    assert add(store, span) == Added(stored=1)
    assert store.trace(span.trace_id).spans == (span,)


def test_spans_come_ordered_by_start(store: SqliteStore) -> None:
    """In whatever order and portions they arrived."""
    add(store, stored_span(1, 3, start=30), stored_span(1, 1, start=10))
    add(store, stored_span(1, 2, start=20), stored_span(2, 9, start=5))
    assert identifiers(store.trace(trace_id(1).hex()).spans) == [1, 2, 3]


def test_a_span_sent_twice_is_stored_once(store: SqliteStore) -> None:
    """An exporter that repeats an export changes nothing; the first one counts."""
    add(store, stored_span(1, 1, end=2 * SECOND))
    assert add(store, stored_span(1, 1, end=9 * SECOND), stored_span(1, 2)) == Added(stored=1, duplicate=1)
    assert [span.end_ns for span in store.trace(trace_id(1).hex()).spans] == [2 * SECOND, 2 * SECOND]
    assert [trace.span_count for trace in store.newest(5)] == [2]


def test_linked_spans_come_with_the_trace_in_both_directions(store: SqliteStore) -> None:
    """The batch of a request, and the requests of a batch; not what those are linked with in turn."""
    add(store, stored_span(1, 1, links=[(9, 9)]), stored_span(1, 2, parent=1))
    add(store, stored_span(9, 9, links=[(1, 1), (2, 1)], start=5), stored_span(9, 8, parent=9))
    add(store, stored_span(2, 1, links=[(9, 9)], start=7), stored_span(3, 1, links=[(9, 8)], start=8))
    add(store, stored_span(4, 1, links=[(9, 77)], start=9))
    assert [span.trace_id[-1] for span in store.trace(trace_id(1).hex()).linked] == ["9"]
    assert [span.trace_id[-1] for span in store.trace(trace_id(9).hex()).linked] == ["2", "3", "1"]


def test_a_span_that_only_points_here_comes_too(store: SqliteStore) -> None:
    """A batch whose request does not name it is found from the request."""
    add(store, stored_span(1, 1), stored_span(9, 9, links=[(1, 1)]))
    assert identifiers(store.trace(trace_id(1).hex()).linked) == [9]


def test_traces_are_found_by_model_time_and_failure(store: SqliteStore) -> None:
    """Alone and together; a model's name is looked for as it is, whatever stands in it."""
    for number, model in {1: "linear", 2: 'li"near', 3: "linear"}.items():
        span = stored_span(number, 1, start=number * SECOND, end=number * 2 * SECOND)
        add(store, replace(span, attributes={"headrace.model": model}, status=ERROR * (number == 3)))
        add(store, stored_span(number, 2, start=number * SECOND, end=number * SECOND))

    def found(service: str = "", model: str = "", least_ns: int = 0, *, failed: bool = False) -> list[int]:
        traces = store.newest(9, service, model=model, least_ns=least_ns, failed=failed)
        return [int(trace.trace_id, 16) for trace in traces]

    assert [trace.model for trace in store.newest(9)] == ["linear", 'li"near', "linear"]
    assert found() == [3, 2, 1]
    assert found(model="linear") == [3, 1]
    assert found(model='li"near') == [2]
    assert found(model="lin%") == []
    assert found(failed=True) == [3]
    assert found(least_ns=2 * SECOND) == [3, 2]
    assert found("inference", "linear", 2 * SECOND, failed=True) == [3]
    assert found("gateway", "linear") == []


def test_so_many_linked_spans_and_no_more(store: SqliteStore) -> None:
    """An answer stays bounded, though half the store may be linked with one span."""
    add(store, stored_span(1, 1))
    add(store, *(stored_span(n, 1, links=[(1, 1)]) for n in range(2, 400)))
    assert len(store.trace(trace_id(1).hex()).linked) == MAX_LINKED_SPANS


def test_the_newest_traces_come_first(store: SqliteStore) -> None:
    """By start, with the root's name, the whole extent, and whether anything failed."""
    add(store, stored_span(1, 1, start=10, end=20), stored_span(2, 1, start=30, end=40))
    add(store, stored_span(1, 2, parent=1, start=12, end=50, status=ERROR, service="gateway"))
    newest, oldest = store.newest(5)
    assert (newest.trace_id, newest.failed) == (trace_id(2).hex(), False)
    assert (oldest.root_name, oldest.start_ns, oldest.end_ns) == ("work-1", 10, 50)
    assert (oldest.span_count, oldest.failed) == (2, True)
    assert store.newest(1) == [newest]
    assert store.newest(5, "gateway") == [oldest]
    assert store.newest(5, "gate") == store.newest(5, "%") == []


def test_a_restart_keeps_the_traces(path: Path) -> None:
    """What a closed store held is there when it is opened again."""
    store = SqliteStore(path, BOUNDS)
    add(store, stored_span(1, 1))
    store.close()
    again = SqliteStore(path, BOUNDS)
    assert identifiers(again.trace(trace_id(1).hex()).spans) == [1]
    assert again.has(trace_id(1))
    assert not again.has(trace_id(2))
    again.close()


def test_a_killed_process_keeps_the_traces(path: Path, tmp_path: Path) -> None:
    """What was committed is in the files, though nobody closed them."""
    store = SqliteStore(path, BOUNDS)
    add(store, stored_span(1, 1))
    left = tmp_path / "left"
    left.mkdir()
    for file in path.parent.iterdir():
        (left / file.name).write_bytes(file.read_bytes())
    store.close()
    again = SqliteStore(left / path.name, BOUNDS)
    assert identifiers(again.trace(trace_id(1).hex()).spans) == [1]
    again.close()


def test_the_files_never_outgrow_the_bound(path: Path, store: SqliteStore) -> None:
    """Four times the bound goes in; file and log stay within it and the oldest traces make room."""
    for first in range(1, 40_000, 1000):
        spans = [stored_span(n, 1, filling=900, links=[(n + 1, 1)]) for n in range(first, first + 1000)]
        assert add(store, *spans).stored == 1000
        assert footprint(path) <= BOUNDS.store_bytes
    newest = int(max(store.newest(1000), key=lambda trace: trace.trace_id).trace_id, 16)
    assert newest == 40_000
    assert not store.has(trace_id(1))
    assert store.used_bytes() > BOUNDS.store_bytes // 2


def test_large_traces_do_not_outgrow_the_bound_either(path: Path, store: SqliteStore) -> None:
    """The same with few traces of nearly the largest size, that fill the log at once."""
    for number in range(1, 40):
        add(store, *(stored_span(number, n, filling=60_000) for n in range(1, 30)))
        assert footprint(path) <= BOUNDS.store_bytes
    assert store.has(trace_id(39))
    assert not store.has(trace_id(1))


def test_a_smaller_bound_shrinks_the_file(path: Path) -> None:
    """A file that a larger bound let grow is within the smaller one once it is open."""
    large = SqliteStore(path, Bounds(64 * MIB, 2000, 2 * MIB))
    for first in range(1, 30_000, 1000):
        add(large, *(stored_span(n, 1, filling=900) for n in range(first, first + 1000)))
    large.close()
    assert footprint(path) > BOUNDS.store_bytes
    small = SqliteStore(path, BOUNDS)
    assert footprint(path) <= BOUNDS.store_bytes
    assert small.has(trace_id(30_000))
    small.close()


def test_one_trace_cannot_fill_the_store(path: Path) -> None:
    """Spans above a trace's bounds are dropped and counted; other traces go on."""
    store = SqliteStore(path, Bounds(16 * MIB, trace_spans=3, trace_bytes=20_000))
    added = add(store, *(stored_span(1, n) for n in range(1, 6)))
    assert added == Added(stored=3, trace_full=2)
    assert add(store, stored_span(1, 9)) == Added(trace_full=1)
    added = add(store, *(stored_span(2, n, filling=9000) for n in range(1, 4)))
    assert added == Added(stored=2, trace_full=1)
    assert add(store, stored_span(3, 1, filling=30_000)) == Added(trace_full=1)
    assert not store.has(trace_id(3))
    store.close()


def test_old_traces_leave(store: SqliteStore) -> None:
    """Age counts from when a trace was first seen: a span's own times may be wrong."""
    add(store, stored_span(1, 1, start=10**18), now=1 * SECOND)
    add(store, stored_span(2, 1, start=0), now=5 * SECOND)
    assert store.evict_before(4 * SECOND) == 1
    assert not store.has(trace_id(1))
    assert store.has(trace_id(2))
    assert store.evict_before(0) == 0


def test_an_evicted_trace_leaves_nothing(path: Path, store: SqliteStore) -> None:
    """Spans and links go with their trace, in portions that bound the log."""
    add(store, *(stored_span(n, 1, links=[(n + 1, 1)]) for n in range(1, 200)))
    assert store.evict_before(2 * SECOND) == 199
    with sqlite3.connect(path) as other:
        for table in ("traces", "spans", "links"):
            assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 - above
    other.close()


@pytest.mark.parametrize(
    "content", [b"not a database " * 1000, b"SQLite format 3\x00" + bytes(range(256)) * 40]
)
def test_a_file_that_cannot_be_read_is_put_aside(path: Path, content: bytes) -> None:
    """Insight starts with an empty store; the old file stays for who wants to look."""
    path.parent.mkdir()
    path.write_bytes(content)
    store = SqliteStore(path, BOUNDS)
    assert add(store, stored_span(1, 1)).stored == 1
    assert path.with_name("traces.sqlite3.unreadable").read_bytes() == content
    store.close()


def test_a_file_of_another_version_is_put_aside(path: Path) -> None:
    """Tables that this version does not know are not touched."""
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    other.close()
    store = SqliteStore(path, BOUNDS)
    assert add(store, stored_span(1, 1)).stored == 1
    assert path.with_name("traces.sqlite3.unreadable").exists()
    store.close()


def test_only_the_owner_reads_the_file(path: Path, store: SqliteStore) -> None:
    """Traces tell who asked what: the file and its folder are private."""
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_transaction_that_fails_leaves_nothing(store: SqliteStore) -> None:
    """Of a batch that can't be stored, nothing is; the next one is stored."""
    bad = stored_span(2, 1, start=2**63, end=2**63)
    with pytest.raises(OverflowError):
        add(store, stored_span(1, 1), bad)
    assert not store.has(trace_id(1))
    assert add(store, stored_span(1, 1)).stored == 1


def test_a_file_of_the_version_before_is_kept(path: Path) -> None:
    """Its traces are still there, for operators; new ones are their tenant's."""
    SqliteStore(path, BOUNDS).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP INDEX traces_by_tenants; ALTER TABLE traces DROP COLUMN tenants; PRAGMA user_version = 1;"
            "INSERT INTO traces VALUES (NULL, x'01', 1, 1, 2, 0, 0, 0, 0, 0, 'old', '', '');"
        )
    store = SqliteStore(path, BOUNDS)
    add(store, stored_span(1, 1, tenant="acme"))
    assert [trace.root_name for trace in store.newest(5)] == ["work-1", "old"]
    assert [trace.root_name for trace in store.newest(5, tenant="acme")] == ["work-1"]
    store.close()
