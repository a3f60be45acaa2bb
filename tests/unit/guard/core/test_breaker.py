"""The circuit breaker of one model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guard.core.breaker import Breaker, State
from headrace.guard.core.limits import BreakerRule, Code

RULE = BreakerRule(5, 60.0)
PROBE_S = 30.0


def state_of(breaker: Breaker) -> State:
    """Its state now: a call, so that a type checker does not take it for what it was."""
    return breaker.state


def opened(now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(RULE)
    breaker.record(Code.FAILURE, 5, now)
    return breaker


def test_the_fifth_failure_in_a_row_opens_it() -> None:
    """Four do not, and a success in between begins the row again."""
    breaker = Breaker(RULE)
    breaker.record(Code.FAILURE, 4, 0.0)
    assert state_of(breaker) is State.CLOSED
    breaker.record(Code.SUCCESS, 1, 0.0)
    breaker.record(Code.FAILURE, 4, 0.0)
    assert state_of(breaker) is State.CLOSED
    breaker.record(Code.FAILURE, 1, 0.0)
    assert state_of(breaker) is State.OPEN


def test_what_says_nothing_about_the_model_never_counts() -> None:
    """A caller's mistake or cancellation neither opens the breaker nor ends a row of failures."""
    breaker = Breaker(RULE)
    breaker.record(Code.IGNORED, 1000, 0.0)
    assert breaker.idle
    breaker.record(Code.FAILURE, 4, 0.0)
    breaker.record(Code.IGNORED, 1000, 0.0)
    breaker.record(Code.FAILURE, 1, 0.0)
    assert state_of(breaker) is State.OPEN


def test_nobody_passes_while_it_is_open() -> None:
    """For exactly 60 s."""
    breaker = opened(10.0)
    assert breaker.wait_s(10.0) == 60.0
    assert not breaker.probe(1, 69.9, PROBE_S)
    assert state_of(breaker) is State.OPEN
    assert breaker.probe(1, 70.0, PROBE_S)


def test_half_open_lets_one_through() -> None:
    """All others are refused until the probe has ended."""
    breaker = opened()
    assert breaker.probe(1, 60.0, PROBE_S)
    assert state_of(breaker) is State.HALF_OPEN
    assert [breaker.probe(number, 60.0, PROBE_S) for number in range(2, 102)] == [False] * 100


def test_one_success_of_the_probe_closes_it() -> None:
    """And it is as a new one."""
    breaker = opened()
    breaker.probe(1, 60.0, PROBE_S)
    breaker.probed(1, Code.SUCCESS, 61.0)
    assert breaker.idle


def test_a_probe_that_fails_opens_it_again() -> None:
    """For another 60 s."""
    breaker = opened()
    breaker.probe(1, 60.0, PROBE_S)
    breaker.probed(1, Code.FAILURE, 61.0)
    assert state_of(breaker) is State.OPEN
    assert breaker.wait_s(61.0) == 60.0


def test_a_probe_that_says_nothing_leaves_the_place_to_the_next() -> None:
    """Cancelled, or refused for the caller's mistake: half open still, and another may try."""
    breaker = opened()
    breaker.probe(1, 60.0, PROBE_S)
    breaker.probed(1, Code.IGNORED, 61.0)
    assert state_of(breaker) is State.HALF_OPEN
    assert breaker.probe(2, 61.0, PROBE_S)


def test_a_probe_that_never_ends_is_given_up() -> None:
    """Its place is free after `probe_s`, and what it says later changes nothing."""
    breaker = opened()
    breaker.probe(1, 60.0, PROBE_S)
    assert not breaker.probe(2, 89.9, PROBE_S)
    assert breaker.probe(3, 90.0, PROBE_S)
    breaker.probed(1, Code.SUCCESS, 91.0)
    assert state_of(breaker) is State.HALF_OPEN
    breaker.probed(3, Code.SUCCESS, 92.0)
    assert state_of(breaker) is State.CLOSED


@pytest.mark.parametrize("code", [Code.SUCCESS, Code.FAILURE])
def test_requests_from_before_say_nothing_about_now(code: Code) -> None:
    """What was admitted before the breaker opened neither closes nor prolongs it."""
    breaker = opened()
    breaker.record(code, 1, 30.0)
    assert breaker.wait_s(60.0) == 0.0
    breaker.probe(1, 60.0, PROBE_S)
    breaker.record(code, 1, 61.0)
    assert state_of(breaker) is State.HALF_OPEN


STEPS = st.lists(
    st.tuples(st.sampled_from(["fail", "succeed", "ignore", "probe", "end"]), st.sampled_from(list(Code))),
    max_size=80,
)


@given(STEPS)
def test_never_two_probes_at_once(steps: list[tuple[str, Code]]) -> None:
    """Whatever happens: one probe under way at the most, and only after the open time."""
    breaker, now, running = Breaker(RULE), 0.0, 0
    for number, (step, code) in enumerate(steps, 1):
        now += 7.0
        before, wait_s = breaker.state, breaker.wait_s(now)
        if step == "probe":
            if breaker.probe(number, now, 1e9):
                assert not running
                assert before is State.HALF_OPEN or (before is State.OPEN and wait_s == 0.0)
                running = number
        elif step == "end":
            breaker.probed(running, code, now)
            running = 0
        else:
            breaker.record({"fail": Code.FAILURE, "succeed": Code.SUCCESS}.get(step, Code.IGNORED), 1, now)
