"""What is kept of a trace as a whole."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from headrace.insight.core.summary import MAX_SERVICES, TraceRow, grown, size_of
from headrace.insight.spans import ERROR, Span
from tests.fakes.insight import stored_span


def summed(row: TraceRow | None, spans: list[Span]) -> TraceRow:
    """The trace with spans that are all new."""
    return grown(row, spans, len(spans), sum(map(size_of, spans)))


def test_the_root_names_the_trace_even_when_it_comes_last() -> None:
    """Until the root arrives the earliest span stands for it; an earlier child does not replace a root."""
    row = summed(None, [stored_span(1, 2, parent=1, start=20)])
    assert row.root_name == "work-2"
    row = summed(row, [stored_span(1, 3, parent=1, start=15)])
    assert row.root_name == "work-3"
    row = summed(row, [stored_span(1, 1, start=18, service="gateway")])
    assert (row.root_name, row.root_service) == ("work-1", "gateway")
    row = summed(row, [stored_span(1, 4, parent=1, start=1)])
    assert (row.root_name, row.start_ns) == ("work-1", 1)


def test_services_are_remembered_up_to_a_bound() -> None:
    """A trace through a thousand services names the first few."""
    row = summed(None, [stored_span(1, 1)])
    for number in range(2, 1000):
        row = summed(row, [stored_span(1, number, service=f"s{number}")])
    assert len(row.services.split()) == MAX_SERVICES
    assert row.services.startswith("\ninference\ns2\n")


@given(
    st.lists(
        st.builds(
            lambda span, start, length, status, parent: stored_span(
                1, span, parent=parent, start=start, end=start + length, status=status
            ),
            st.integers(1, 1000),
            st.integers(0, 1000),
            st.integers(0, 1000),
            st.sampled_from([0, 1, ERROR]),
            st.integers(0, 2),
        ),
        min_size=1,
        max_size=12,
    ),
    st.data(),
)
def test_order_and_portions_of_arrival_do_not_matter(spans: list[Span], data: st.DataObject) -> None:
    """The extent, size and outcome of a trace are those of its spans, however they arrived."""
    shuffled = data.draw(st.permutations(spans))
    single = reduce(lambda row, span: summed(row, [span]), shuffled, None)
    row = summed(None, spans)
    assert single is not None
    assert row[:6] == single[:6]
    assert (row.start_ns, row.end_ns) == (min(s.start_ns for s in spans), max(s.end_ns for s in spans))
    assert row.failed == any(span.failed for span in spans)
    assert row.rooted == any(not span.parent_id for span in spans)
    assert row.root_start_ns == single.root_start_ns
