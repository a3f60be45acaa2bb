"""Who gets the next slot: the one that has waited longest, unless it may be gone."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.slots import (
    BATCHES,
    LEAST_PATIENCE_S,
    goes_first,
    longest,
    longest_batch_s,
    patience_s,
)

PATIENCE = 1.0
NOW = 100.0

# 0 for who does not wait, long ago for who is stopped or dead.
times = st.lists(
    st.one_of(st.just(0.0), st.floats(90.0, 100.0)),
    min_size=1,
    max_size=32,
    unique_by=lambda t: t or object(),
)


@given(times)
def test_exactly_the_one_that_is_woken_goes_first(waiting: list[float]) -> None:
    """Of those that wait within the bound; so a slot that is given back is taken, and by one only."""
    alive = [place for place, since in enumerate(waiting) if since > NOW - PATIENCE]
    first = [place for place in alive if goes_first(waiting, waiting[place], NOW, PATIENCE)]
    woken = longest(waiting, NOW, PATIENCE)
    assert first == ([] if woken is None else [woken])


@given(times)
def test_who_comes_anew_waits_behind_all_that_may_be_there(waiting: list[float]) -> None:
    """It goes first only where nobody waits, or nobody within the bound."""
    alive = any(NOW - PATIENCE < since < NOW for since in waiting)
    assert goes_first(waiting, NOW, NOW, PATIENCE) is not alive


def test_who_waits_too_long_holds_nobody_up() -> None:
    """It may be stopped or dead: it is passed over, and not the one that is woken."""
    waiting = [NOW - 2 * PATIENCE, 0.0, NOW - 0.5]
    assert goes_first(waiting, waiting[2], NOW, PATIENCE)
    assert longest(waiting, NOW, PATIENCE) == 2


def test_patience_grows_with_the_batches() -> None:
    """A model whose batches take a second is not given up after a quarter of one."""
    assert patience_s(0.001) == LEAST_PATIENCE_S
    assert patience_s(2.0) == BATCHES * 2.0


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=20))
def test_a_long_batch_is_remembered_for_a_while(took: list[float]) -> None:
    """The newest counts whole, those before it less and less."""
    before = 0.0
    for one in took:
        known = longest_batch_s(before, one)
        assert one <= known <= max(one, before)
        before = known
