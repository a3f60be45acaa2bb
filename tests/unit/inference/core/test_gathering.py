"""When the loop reads on before a batch is cut."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.gathering import QUICK_S, TURNS, Gathering

SLOW_S, FAST_S = 2 * QUICK_S, QUICK_S / 2


def gathering(seconds: float = FAST_S) -> Gathering:
    """Of batches of 8, after one that took so long."""
    found = Gathering(8)
    found.took(seconds)
    found.begin()
    return found


def test_a_quick_model_waits_while_more_comes() -> None:
    """And no longer."""
    one = gathering()
    assert [one.more(waiting) for waiting in (1, 3, 3)] == [True, True, False]


def test_a_full_batch_is_cut_at_once() -> None:
    """There is nothing to gain."""
    assert not gathering().more(8)


def test_a_slow_model_is_never_kept_waiting() -> None:
    """Nor one that nothing is known of: its first batch may be as slow."""
    assert not gathering(SLOW_S).more(1)
    assert not Gathering(8).more(1)


def test_each_batch_gathers_anew() -> None:
    """The turns of the last one don't count."""
    one = gathering()
    assert [one.more(1), one.more(1)] == [True, False]
    one.begin()
    assert one.more(1)


@given(st.sets(st.integers(1, 10_000), min_size=TURNS + 1, max_size=50))
def test_the_turns_are_bounded(waiting: set[int]) -> None:
    """However much keeps coming."""
    one = Gathering(10_001)
    one.took(FAST_S)
    one.begin()
    assert sum(one.more(count) for count in sorted(waiting)) == TURNS
