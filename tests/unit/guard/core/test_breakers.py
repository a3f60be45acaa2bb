"""The breakers of all models at the guard."""

from headrace.guard.core.breaker import State
from headrace.guard.core.breakers import Breakers
from headrace.guard.core.frames import KnownBreaker, Outcome, Want
from headrace.guard.core.limits import BreakerRule, Code

RULE = BreakerRule(5, 60.0)
WANT = Want(9, model="bad")


def failures(count: int) -> list[Outcome]:
    """So many failures of one model."""
    return [Outcome("bad", Code.FAILURE, count, 0.1)]


def opened() -> Breakers:
    """With one that has just opened."""
    breakers = Breakers(RULE, 30.0)
    assert breakers.record(failures(5), 0.0)
    return breakers


def test_only_models_that_failed_are_remembered() -> None:
    """A success, an ignored request, or the end of a row leaves nothing."""
    breakers = Breakers(RULE)
    breakers.record([Outcome("good", Code.SUCCESS, 100, 0.1), Outcome("odd", Code.IGNORED, 9, 0.1)], 0.0)
    assert breakers.all(0.0) == ()
    assert not breakers.record(failures(4), 0.0)
    assert breakers.all(0.0) == (KnownBreaker("bad", State.CLOSED, 4, 0.0),)
    assert breakers.open(0.0) == ()
    breakers.record([Outcome("bad", Code.SUCCESS, 1, 0.1)], 0.0)
    assert breakers.all(0.0) == ()


def test_one_probe_over_all_holders() -> None:
    """The first that asks gets it, the others a time to retry; its success closes."""
    breakers = opened()
    assert breakers.probe("a", WANT, 59.0).retry_s == 1.0
    first, second = breakers.probe("a", WANT, 60.0), breakers.probe("b", WANT, 60.0)
    assert (first.model, first.sequence) == ("bad", 9)
    assert first.probe
    assert (second.probe, second.retry_s) == (0, 1.0)
    assert breakers.record([Outcome("bad", Code.SUCCESS, 1, 0.1, first.probe)], 61.0)
    assert breakers.all(61.0) == ()


def test_an_open_breaker_tells_how_long() -> None:
    """Not a second, which would have every holder ask every second."""
    assert opened().probe("a", WANT, 18.0).retry_s == 42.0


def test_the_probe_of_a_lost_holder_is_given_up() -> None:
    """Another may try at once; what the lost one says later is a request like any other."""
    breakers = opened()
    lost = breakers.probe("a", WANT, 60.0).probe
    breakers.lose("b", 61.0)
    assert not breakers.probe("b", WANT, 61.0).probe
    breakers.lose("a", 62.0)
    assert breakers.probe("b", WANT, 62.0).probe
    assert not breakers.record([Outcome("bad", Code.SUCCESS, 1, 0.1, lost)], 63.0)


def test_who_asks_for_a_breaker_that_has_closed_may_pass() -> None:
    """It was told so before; refused, it would ask for ever."""
    assert Breakers(RULE).probe("a", WANT, 0.0).probe


def test_a_guard_without_memory_learns_from_holders() -> None:
    """A breaker that it does not know; one that it knows better stays as it is."""
    breakers = Breakers(RULE)
    known = KnownBreaker("bad", State.OPEN, 5, 12.0)
    assert breakers.learn([known], 0.0)
    assert breakers.open(0.0) == (known,)
    assert not breakers.learn([KnownBreaker("bad", State.OPEN, 5, 60.0)], 0.0)
    assert breakers.open(2.0)[0].wait_s == 10.0
    assert not breakers.learn([KnownBreaker("fine", State.CLOSED, 1, 0.0)], 0.0)
