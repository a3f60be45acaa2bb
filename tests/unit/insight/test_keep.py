"""Which traces are kept."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.insight.core.keep import KeepRate
from tests.fakes.insight import trace_id


def test_traces_above_the_rate_are_dropped() -> None:
    """At 50/s with a burst of 50, of 1,000 traces within a second 100 are kept."""
    keep = KeepRate(50, 50)
    kept = [keep.keeps(trace_id(n), (), n / 1000) for n in range(1, 1001)]
    assert 99 <= sum(kept) <= 100


def test_a_trace_is_kept_or_dropped_whole() -> None:
    """Later spans of a trace follow the decision on its first ones."""
    keep = KeepRate(1, 1)
    assert [keep.keeps(trace_id(n), (), 0.0) for n in (1, 2, 1, 2)] == [True, False, True, False]
    assert keep.keeps(trace_id(2), (), 100.0) is False


def test_a_trace_linked_with_a_kept_one_is_kept() -> None:
    """A request whose batch was kept is kept though the bucket is empty, and pays for it later."""
    keep = KeepRate(1, 2)
    assert keep.keeps(trace_id(1), (), 0.0)
    assert keep.keeps(trace_id(2), (), 0.0)
    assert keep.keeps(trace_id(3), (trace_id(1),), 0.0)
    assert not keep.keeps(trace_id(4), (), 1.0)
    assert keep.keeps(trace_id(5), (), 2.0)


def test_a_trace_linked_with_dropped_ones_is_dropped() -> None:
    """A request whose batch was dropped is dropped though there would be room by now."""
    keep = KeepRate(1, 1)
    keep.keeps(trace_id(1), (), 0.0)
    assert not keep.keeps(trace_id(2), (), 0.0)
    assert not keep.keeps(trace_id(3), (trace_id(2),), 10.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Time that runs backwards neither fills the bucket nor empties it."""
    keep = KeepRate(1, 1)
    assert keep.keeps(trace_id(1), (), 10.0)
    assert not keep.keeps(trace_id(2), (), 5.0)
    assert keep.keeps(trace_id(3), (), 6.0)


def test_links_can_overdraw_the_bucket_by_its_height_only() -> None:
    """A batch of a thousand requests does not keep them all."""
    keep = KeepRate(1, 3)
    keep.keeps(trace_id(1), (), 0.0)
    kept = [keep.keeps(trace_id(n), (trace_id(1),), 0.0) for n in range(2, 1000)]
    assert sum(kept) == 5


def test_only_so_many_decisions_are_remembered() -> None:
    """The oldest decision is forgotten: memory is bounded, whatever arrives."""
    keep = KeepRate(1, 1, remembered=2)
    assert [keep.keeps(trace_id(n), (), 0.0) for n in (1, 2, 3)] == [True, False, False]
    assert keep.keeps(trace_id(1), (), 0.0) is False


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.frozensets(st.integers(1, 60), max_size=4), st.floats(0, 0.2)),
        max_size=200,
    )
)
def test_the_rate_holds_over_time_whatever_is_linked(
    arrivals: list[tuple[int, frozenset[int], float]],
) -> None:
    """No more than two bursts and the rate times the time passed is ever kept."""
    rate, burst, now = 5.0, 4.0, 0.0
    keep = KeepRate(rate, burst)
    kept = set()
    for number, links, passed in arrivals:
        now += passed
        if keep.keeps(trace_id(number), map(trace_id, links), now):
            kept.add(number)
        assert len(kept) <= 2 * burst + rate * now + 1e-6
