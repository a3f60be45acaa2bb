"""Counters that never go back."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.insight.core.exposition import Series
from headrace.insight.core.totals import Totals

A, B = Series("a"), Series("b")


def total(totals: Totals, series: Series) -> float:
    place = totals.place(series)
    return 0.0 if place is None else totals.values[place]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("count"), st.sampled_from("xy"), st.integers(1, 100)),
            st.tuples(st.just("read"), st.sampled_from("xy"), st.just(0)),
            st.tuples(st.just("restart"), st.sampled_from("xy"), st.just(0)),
        ),
        max_size=60,
    )
)
def test_what_is_added_up_is_what_was_counted_between_readings(steps: list[tuple[str, str, int]]) -> None:
    """Whatever restarts: nothing is counted twice, and nothing is lost but what a process counted unread at its end.

    Each process has a second counter that tells its restarts, as real ones have many.
    """
    totals = Totals(100)
    counted, unread, expected, begun = {"x": 0, "y": 0}, {"x": 0, "y": 0}, 0, set()
    beat = {"x": 1000, "y": 1000}
    for what, name, amount in steps:
        if what == "count":
            counted[name] += amount
            unread[name] += amount
        elif what == "restart":
            counted[name] = unread[name] = 0
            beat[name] //= 2
        else:
            expected += unread[name] if name in begun else 0
            begun.add(name)
            unread[name] = 0
            totals.add(name, {A: counted[name], B: beat[name]})
    assert total(totals, A) == expected


def test_a_restart_is_told_by_any_counter() -> None:
    """The new process has already counted more of one thing than the old one had: all of it is new."""
    totals = Totals(100)
    totals.add("x", {A: 10, B: 500})
    totals.add("x", {A: 30, B: 1})
    assert (total(totals, A), total(totals, B)) == (30, 1)


def test_a_counter_that_is_gone_tells_a_restart() -> None:
    """A process does not forget what it counted; its successor has not begun to."""
    totals = Totals(100)
    totals.add("x", {A: 10, B: 1})
    totals.add("x", {A: 12})
    assert total(totals, A) == 12


def test_the_first_reading_is_where_counting_begins() -> None:
    """What a process did before insight came is not of now."""
    totals = Totals(100)
    totals.add("x", {A: 1_000_000})
    totals.add("x", {A: 1_000_003})
    assert total(totals, A) == 3


def test_a_process_that_is_gone_leaves_what_it_counted() -> None:
    """Scaling down is no restart of the mesh."""
    totals = Totals(100)
    for value in (0, 5):
        totals.add("x", {A: value})
    totals.forget("x")
    for value in (100, 101):
        totals.add("x", {A: value})
    assert total(totals, A) == 6


def test_the_number_of_series_is_bounded() -> None:
    """What is above it is left out and counted; what was there goes on."""
    totals = Totals(1)
    for value in (0, 1):
        totals.add("x", {A: value, B: value})
    assert (total(totals, A), totals.place(B), totals.left_out) == (1, None, 2)
