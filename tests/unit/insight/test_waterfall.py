"""A trace as rows."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.insight.spans import Span
from headrace.insight.waterfall import Row, waterfall
from tests.fakes.insight import stored_span


def drawn(rows: list[Row]) -> list[str]:
    """The rows as an indented list; `+` marks linked ones, `?` those without their parent."""
    return [
        "  " * row.depth + "+" * row.linked + "?" * row.detached + row.label.removeprefix("work-")
        for row in rows
    ]


def test_children_follow_their_parent_by_start() -> None:
    """Depth first, siblings in the order in which they started."""
    spans = [
        stored_span(1, 4, parent=1, start=30, end=40),
        stored_span(1, 3, parent=2, start=15, end=18),
        stored_span(1, 2, parent=1, start=10, end=20),
        stored_span(1, 1, start=0, end=100),
    ]
    assert drawn(waterfall(spans)) == ["1", "  2", "    3", "  4"]


def test_bars_are_shares_of_the_traces_length() -> None:
    """A span from 25 to 75 of 100 has a bar from a quarter on, half as long as the trace."""
    _, row = waterfall(
        [stored_span(1, 1, start=1000, end=1100), stored_span(1, 2, parent=1, start=1025, end=1075)]
    )
    assert (row.offset_ns, row.duration_ns, row.bar_start, row.bar_width) == (25, 50, 0.25, 0.5)


def test_a_batch_is_shown_under_the_request_that_links_to_it() -> None:
    """The batch is a trace of its own; its row says that it is linked."""
    spans = [
        stored_span(1, 1, start=0, end=100),
        stored_span(1, 2, parent=1, start=10, end=90, links=[(9, 9)]),
        stored_span(1, 3, parent=2, start=20, end=30),
    ]
    batch = stored_span(9, 9, start=30, end=80, links=[(1, 2), (5, 5)])
    assert drawn(waterfall(spans, [batch])) == ["1", "  2", "    3", "    +9"]


def test_a_linked_span_that_points_here_is_shown_where_it_points() -> None:
    """A link in one direction is enough, whichever."""
    spans = [stored_span(1, 1, start=0, end=100), stored_span(1, 2, parent=1, start=10, end=90)]
    assert drawn(waterfall(spans, [stored_span(9, 9, start=30, end=80, links=[(1, 2)])])) == [
        "1",
        "  2",
        "    +9",
    ]


def test_a_linked_span_is_shown_once() -> None:
    """Of several spans that link to it the earliest has it."""
    spans = [
        stored_span(1, 2, parent=1, start=10, end=90, links=[(9, 9)]),
        stored_span(1, 1, start=0, end=100, links=[(9, 9)]),
    ]
    assert drawn(waterfall(spans, [stored_span(9, 9), stored_span(9, 9)])) == ["1", "  2", "  +9"]


def test_a_span_of_the_trace_is_not_shown_as_linked() -> None:
    """A span that comes in both lists is the trace's own."""
    spans = [stored_span(1, 1), stored_span(1, 2, parent=1, links=[(1, 1)])]
    assert drawn(waterfall(spans, spans)) == ["1", "  2"]


def test_a_linked_span_of_another_time_does_not_stretch_the_trace() -> None:
    """The bars are of this trace; what lies outside is clipped, its offset still told."""
    spans = [stored_span(1, 1, start=1000, end=1100, links=[(9, 9)])]
    own, linked = waterfall(spans, [stored_span(9, 9, start=0, end=50)])
    assert (own.bar_start, own.bar_width) == (0.0, 1.0)
    assert (linked.offset_ns, linked.bar_start, linked.bar_width) == (-1000, 0.0, 0.0)


def test_a_span_without_its_parent_starts_a_tree() -> None:
    """A lost parent costs the indentation, not the span."""
    spans = [stored_span(1, 1, start=0), stored_span(1, 3, parent=2, start=10), stored_span(1, 4, parent=3)]
    assert drawn(waterfall(spans)) == ["1", "?3", "  4"]


def test_a_cycle_is_opened_at_its_earliest_span() -> None:
    """Spans that are each other's parents are shown, each once."""
    spans = [
        stored_span(1, 1, parent=3, start=20),
        stored_span(1, 2, parent=1, start=10),
        stored_span(1, 3, parent=2, start=30),
        stored_span(1, 4, parent=3, start=40),
        stored_span(1, 5, parent=5, start=50),
    ]
    assert drawn(waterfall(spans)) == ["2", "  3", "    1", "    4", "5"]


def test_of_duplicates_the_first_counts() -> None:
    """The same span twice is one row."""
    spans = [stored_span(1, 1, start=0, end=10), stored_span(1, 1, start=5, end=99)]
    assert [row.duration_ns for row in waterfall(spans)] == [10]


def test_a_child_may_start_before_its_parent() -> None:
    """Clocks of two machines disagree: the tree stands, the bars show what was measured."""
    parent, child = waterfall(
        [stored_span(1, 1, start=50, end=100), stored_span(1, 2, parent=1, start=0, end=40)]
    )
    assert (parent.depth, parent.bar_start, child.depth, child.offset_ns) == (0, 0.5, 1, 0)


def test_a_chain_as_long_as_a_trace_is_no_recursion() -> None:
    """10,000 spans, each the child of the one before."""
    rows = waterfall([stored_span(1, n, parent=n - 1, start=n) for n in range(1, 10_001)])
    assert [row.depth for row in rows] == list(range(10_000))


def test_nothing_is_drawn_of_nothing() -> None:
    """No spans, no rows; linked ones alone are still drawn."""
    assert waterfall([]) == []
    assert drawn(waterfall([], [stored_span(9, 9)])) == ["+9"]


numbers = st.integers(1, 6)
pairs = st.tuples(st.integers(1, 3), numbers)


@st.composite
def spans_of(draw: st.DrawFn, traces: st.SearchStrategy[int]) -> list[Span]:
    """Spans whose parents, links and times know no order."""
    return [
        stored_span(
            draw(traces),
            draw(numbers),
            parent=draw(st.integers(0, 7)),
            links=draw(st.lists(pairs, max_size=3)),
            start=(start := draw(st.integers(0, 2**62))),
            end=start + draw(st.integers(0, 2**61)),
        )
        for _ in range(draw(st.integers(0, 10)))
    ]


@given(spans_of(st.just(1)), spans_of(st.integers(1, 3)))
def test_every_span_is_a_row_exactly_once(spans: list[Span], linked: list[Span]) -> None:
    """Whatever the parents, links, duplicates and clocks: a complete forest with bars inside the frame."""
    rows = waterfall(spans, linked)
    shown = [(row.span.trace_id, row.span.span_id) for row in rows]
    assert sorted(shown) == sorted({(span.trace_id, span.span_id) for span in (*spans, *linked)})
    depth = -1
    for row in rows:
        assert 0 <= row.depth <= depth + 1
        assert 0 <= row.bar_start <= 1
        assert 0 <= row.bar_start + row.bar_width <= 1 + 1e-9
        assert row.bar_width >= 0
        depth = row.depth


@given(spans_of(st.just(1)))
def test_a_row_stands_under_its_parent(spans: list[Span]) -> None:
    """The nearest row above with less depth is the parent, except where a cycle was opened."""
    path: list[Row] = []
    for row in waterfall(spans):
        del path[row.depth :]
        if path:
            assert path[-1].span.span_id == row.span.parent_id
        path.append(row)
