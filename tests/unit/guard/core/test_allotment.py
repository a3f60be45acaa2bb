"""One tenant at the guard."""

import pytest

from headrace.guard.core.allotment import Allotment
from headrace.guard.core.frames import Grant, Outstanding, Revoke, Settle, Want
from headrace.guard.core.limits import Limits, Mode

LIMITS = Limits(rate=10.0, burst=100, concurrency=50)


def granted(allotment: Allotment, now: float, mode: Mode = Mode.LEASED) -> dict[str, Grant]:
    """What a round grants, by holder."""
    return dict(allotment.round(mode, 0.0, now).grants)


def test_callers_that_wait_come_first() -> None:
    """What is wanted ahead gets at most half of what they leave."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(1, "t", tokens=40, slots=10, waiting=10), 0.0)
    allotment.want("b", Want(1, "t", tokens=80, slots=0, waiting=0), 0.0)
    grants = granted(allotment, 0.0)
    assert grants["a"].tokens == 10 + 22
    assert grants["b"].tokens == 23
    assert (grants["a"].slots, grants["a"].mode, grants["a"].limits) == (10, Mode.LEASED, LIMITS)


def test_a_small_limit_is_not_given_away_ahead() -> None:
    """SYNC grants what callers wait for, and nothing stands."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(1, "t", tokens=40, slots=10, waiting=3), 0.0)
    grant = granted(allotment, 0.0, Mode.SYNC)["a"]
    assert (grant.tokens, grant.slots, grant.mode) == (3, 3, Mode.SYNC)
    assert not allotment.standing


def test_too_little_is_a_denial_with_a_time_to_retry() -> None:
    """The answer still has what there is."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(7, "t", tokens=120, slots=10, waiting=120), 0.0)
    grant = granted(allotment, 0.0)["a"]
    assert (grant.tokens, grant.sequence, grant.mode) == (100, 7, None)
    assert grant.retry_s == pytest.approx(0.1)


def test_a_want_that_stands_is_met_when_there_are_tokens() -> None:
    """Without being asked again; after a quarter of a second it has lapsed."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(1, "t", tokens=102, slots=50, waiting=102), 0.0)
    assert granted(allotment, 0.0)["a"].tokens == 100
    allotment.settle("a", Settle("t", used=100), 0.0)
    assert granted(allotment, 0.05) == {}
    assert granted(allotment, 0.1)["a"] == Grant("t", tokens=1, slots=0, retry_s=0.1, limits=LIMITS)
    assert granted(allotment, 0.3) == {}
    assert not allotment.standing


def test_used_and_returned_tokens_are_settled() -> None:
    """Spent ones are gone, returned ones can be granted again."""
    allotment = Allotment("t", Limits(rate=0.001, burst=100, concurrency=500), 0.0)
    allotment.want("a", Want(1, "t", tokens=60, slots=60, waiting=60), 0.0)
    granted(allotment, 0.0)
    assert allotment.available(0.0) == 100
    allotment.settle("a", Settle("t", used=20, tokens=30, slots=50), 0.0)
    assert allotment.available(0.0) == 80
    assert allotment.slots == 10
    allotment.settle("a", Settle("t", used=20, done=True), 0.0)
    assert allotment.available(0.0) == 70
    assert allotment.slots == 0


def test_what_was_admitted_without_us_is_owed() -> None:
    """A holder that used more than it was granted did so alone: the bucket pays."""
    allotment = Allotment("t", Limits(rate=0.001, burst=100, concurrency=500), 0.0)
    allotment.settle("a", Settle("t", used=30), 0.0)
    assert allotment.available(0.0) == 70


def test_a_holder_cannot_return_what_it_was_not_granted() -> None:
    """More than it holds counts as what it holds."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.settle("a", Settle("t", used=0, tokens=1000, slots=1000), 0.0)
    assert allotment.available(0.0) == 100
    assert allotment.slots == 0


def test_a_holder_that_comes_back_says_what_it_has() -> None:
    """Of a guard that knows it, grants that were lost on the way come back to the bucket."""
    allotment = Allotment("t", Limits(rate=0.001, burst=100, concurrency=500), 0.0)
    allotment.want("a", Want(1, "t", tokens=60, slots=60, waiting=60), 0.0)
    granted(allotment, 0.0)
    allotment.register("a", Outstanding("t", tokens=10, slots=5, used=20, deficit=20.0), 0.0)
    assert allotment.available(0.0) == 80
    assert allotment.slots == 5


def test_a_guard_without_memory_believes_the_holder() -> None:
    """What it used of late and what it holds is missing from a full bucket."""
    allotment = Allotment("t", Limits(rate=0.001, burst=100, concurrency=500), 0.0)
    allotment.register("a", Outstanding("t", tokens=10, slots=5, used=1000, deficit=20.0), 0.0)
    assert allotment.available(0.0) == 80
    allotment.want("b", Want(1, "t", tokens=100, slots=10, waiting=100), 0.0)
    assert granted(allotment, 0.0)["b"].tokens == 70


def test_slots_are_asked_back_where_they_idle() -> None:
    """Who has nearly all gives idle ones at once, and busy ones above its fair share; the answer waits 10 ms for it."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(1, "t", tokens=45, slots=45, waiting=45), 0.0)
    granted(allotment, 0.0)
    allotment.want("b", Want(1, "t", tokens=20, slots=20, waiting=20), 0.0)
    awards = allotment.round(Mode.LEASED, 0.0, 0.0)
    assert awards.grants == []
    assert awards.revokes == [("a", Revoke("t", 20, busy=15))]
    allotment.settle("a", Settle("t", used=45, slots=20), 0.005)
    assert granted(allotment, 0.005)["b"].slots == 20


def test_an_answer_waits_for_slots_no_longer_than_that() -> None:
    """Then it gets those that are free, as a denial; nobody is asked twice for one Want."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(1, "t", tokens=45, slots=45, waiting=45), 0.0)
    granted(allotment, 0.0)
    allotment.want("b", Want(1, "t", tokens=20, slots=20, waiting=20), 0.0)
    allotment.round(Mode.LEASED, 0.0, 0.0)
    assert allotment.round(Mode.LEASED, 0.0, 0.005).revokes == []
    grant = granted(allotment, 0.0101)["b"]
    assert (grant.slots, grant.mode, grant.sequence) == (5, None, 1)


def test_the_part_of_those_who_are_missed_is_kept() -> None:
    """A reserve of a half: half of the burst and of the slots is not granted."""
    allotment = Allotment("t", LIMITS, 0.0)
    allotment.want("a", Want(1, "t", tokens=100, slots=50, waiting=100), 0.0)
    grant = dict(allotment.round(Mode.LEASED, 0.5, 0.0).grants)["a"]
    assert (grant.tokens, grant.slots) == (50, 25)
