"""The cache's breaker: opens after failures in a row, one probe at a time, closes on a success."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from headrace.cache.core.breaker import STEPS, Breaker, Event, State


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(failures=3, open_s=1.0)
    for _ in range(3):
        breaker.failed(now)
    return breaker


def state(breaker: Breaker) -> State:
    """Its state now."""
    return breaker.state


def test_the_table_is_whole() -> None:
    """Each event is known in each state, but for waiting, which a closed breaker doesn't."""
    assert set(product(State, Event)) - set(STEPS) == {(State.CLOSED, Event.WAITED)}


def test_it_opens_after_failures_in_a_row() -> None:
    """A success in between begins the count anew."""
    breaker = Breaker(failures=3)
    for _ in range(2):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0.0)
    assert state(breaker) is State.CLOSED
    breaker.failed(0.0)
    assert state(breaker) is State.OPEN
    assert not breaker.admit(0.5)


def test_one_probe_at_a_time() -> None:
    """After the wait the first who asks may, and nobody else until it is known how that went."""
    breaker = opened()
    assert [breaker.admit(1.0), breaker.admit(1.0), breaker.admit(1.5)] == [True, False, False]
    assert state(breaker) is State.HALF_OPEN
    breaker.succeeded()
    assert state(breaker) is State.CLOSED
    assert breaker.admit(1.5)


def test_a_failed_probe_waits_again() -> None:
    """One failure is enough, and the wait begins at it."""
    breaker = opened()
    breaker.admit(1.0)
    breaker.failed(1.2)
    assert state(breaker) is State.OPEN
    assert not breaker.admit(2.1)
    assert breaker.admit(2.2)


def test_an_abandoned_probe_frees_its_place() -> None:
    """Its caller was cancelled: the next one may try at once."""
    breaker = opened()
    breaker.admit(1.0)
    breaker.abandoned()
    assert state(breaker) is State.OPEN
    assert breaker.admit(1.0)


def test_a_lost_probe_does_not_hold_the_place_for_ever() -> None:
    """Who never tells how it went is not waited for."""
    breaker = opened()
    breaker.admit(1.0)
    assert not breaker.admit(1.9)
    assert breaker.admit(2.0)


def test_late_answers_to_old_questions_change_nothing() -> None:
    """A success of a call from before it opened does not close it."""
    breaker = opened()
    breaker.succeeded()
    assert state(breaker) is State.OPEN


@given(st.lists(st.sampled_from(["ask", "fail", "succeed", "abandon", "wait"])))
def test_an_open_breaker_admits_one_a_wait(steps: list[str]) -> None:
    """However it is used: in a second without success or abandonment, at most one is admitted while not closed."""
    breaker, now, last = Breaker(failures=2, open_s=1.0), 0.0, -10.0
    for step in steps:
        match step:
            case "ask":
                if breaker.state is not State.CLOSED and breaker.admit(now):
                    assert now - last >= 1.0
                    last = now
            case "fail":
                breaker.failed(now)
            case "succeed":
                breaker.succeeded()
                last = -10.0
            case "abandon":
                breaker.abandoned()
                last = -10.0
            case _:
                now += 0.3
