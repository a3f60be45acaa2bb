"""Breakers as a holder knows them."""

import pytest

from headrace.guard.core.breaker import State
from headrace.guard.core.frames import KnownBreaker
from headrace.guard.core.known import KnownBreakers
from headrace.guard.core.limits import BreakerRule, Code

RULE = BreakerRule(5, 60.0)


def test_the_guards_list_is_what_holds() -> None:
    """All of it: a model that is not in the newest list is not blocked any more."""
    known = KnownBreakers(RULE)
    seen = known.blocked
    known.told([KnownBreaker("a", State.OPEN, 5, 10.0), KnownBreaker("b", State.HALF_OPEN, 5, 0.0)], 100.0)
    assert seen == {"a": 110.0, "b": 100.0}
    known.told([], 101.0)
    assert seen == {}


def test_with_a_guard_our_own_failures_block_nothing() -> None:
    """It counts those of all replicas and says when."""
    known = KnownBreakers(RULE)
    for _ in range(10):
        known.failed("a", 0.0, alone=False)
    assert known.blocked == {}


def test_without_one_they_do() -> None:
    """The fifth in a row, for the open time."""
    known = KnownBreakers(RULE)
    for _ in range(4):
        known.failed("a", 0.0, alone=True)
    known.succeeded("a")
    for _ in range(4):
        known.failed("a", 0.0, alone=True)
    assert known.blocked == {}
    known.failed("a", 1.0, alone=True)
    assert known.blocked == {"a": 61.0}


def test_what_the_guard_said_holds_when_it_is_lost() -> None:
    """The time goes on from where it was; then one probe of our own, whose success unblocks."""
    known = KnownBreakers(RULE)
    known.told([KnownBreaker("a", State.OPEN, 5, 10.0)], 0.0)
    known.part(4.0)
    assert known.probe_alone("a", 9.0) == 0
    probe = known.probe_alone("a", 10.0)
    assert probe < 0
    assert known.probe_alone("a", 10.0) == 0
    known.probed_alone("a", probe, Code.SUCCESS, 11.0)
    assert known.blocked == {}
    assert known.own == {}


@pytest.mark.parametrize(("code", "until"), [(Code.FAILURE, 71.0), (Code.IGNORED, 11.0)])
def test_a_probe_of_our_own_that_does_not_succeed(code: Code, until: float) -> None:
    """Failed: blocked for the open time. Ignored: another may try."""
    known = KnownBreakers(RULE)
    known.told([KnownBreaker("a", State.OPEN, 5, 10.0)], 0.0)
    known.part(0.0)
    known.probed_alone("a", known.probe_alone("a", 10.0), code, 11.0)
    assert known.blocked == {"a": until}


def test_a_new_guard_is_told() -> None:
    """What is blocked, and for how much longer."""
    known = KnownBreakers(RULE)
    known.told([KnownBreaker("a", State.OPEN, 5, 10.0)], 0.0)
    assert known.known(4.0) == (KnownBreaker("a", State.OPEN, 5, 6.0),)
