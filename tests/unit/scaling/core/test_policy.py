"""How many replicas there should be: G2, G3 and G4 of the specification, and what stands above them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.scaling.core.conditions import Reading, Threshold
from headrace.scaling.core.policy import Action, Cause, Decision, Pool, Rules, decide
from headrace.scaling.core.signals import Signal, View

THRESHOLDS = {
    Signal.CPU: Threshold(0.7, 0.3),
    Signal.MEMORY: Threshold(0.8, 0.4),
    Signal.GPU: Threshold(0.85, 0.4),
    Signal.RESPONSE_TIME: Threshold(2.0, 0.5),
    Signal.QUEUE: Threshold(50.0, 5.0),
}
RULED = tuple(THRESHOLDS)
RULES = Rules(1, 10, 300.0)
FRESH = View({})


def reading(signal: Signal, *, over: bool = False, under: bool = False) -> Reading:
    """A reading whose value does not matter: what holds was found before."""
    return Reading(signal, 0.5, THRESHOLDS.get(signal), over, under, 60.0)


def readings(over: set[Signal] = frozenset(), under: set[Signal] = frozenset()) -> tuple[Reading, ...]:  # type: ignore[assignment]
    """Every signal with a threshold."""
    return tuple(reading(signal, over=signal in over, under=signal in under) for signal in RULED)


def judged(pool: Pool, *told: Reading, view: View = FRESH, now: float = 1000.0) -> Decision:
    """The decision."""
    return decide(pool, view, told, RULES, now)


@pytest.mark.parametrize("one", RULED)
@pytest.mark.parametrize("other", RULED)
def test_any_two_signals_ask_for_one_more(one: Signal, other: Signal) -> None:
    """Whichever they are; one alone asks for nothing."""
    found = judged(Pool(3, 3, -math.inf), *readings(over={one, other}))
    expected = (Action.HOLD, 3) if one is other else (Action.UP, 4)
    assert (found.action, found.after) == expected


@pytest.mark.parametrize("missing", [None, *RULED])
def test_all_signals_ask_for_one_less(missing: Signal | None) -> None:
    """One that is not under its threshold keeps the replica."""
    found = judged(Pool(3, 3, -math.inf), *readings(under=set(RULED) - {missing}))
    expected = (Action.DOWN, 2, Cause.IDLE) if missing is None else (Action.HOLD, 3, Cause.STEADY)
    assert (found.action, found.after, found.cause) == expected


def test_a_signal_that_the_machine_lacks_leaves_the_rule() -> None:
    """Without a GPU the others decide."""
    told = [one for one in readings(under=set(RULED)) if one.signal is not Signal.GPU]
    assert judged(Pool(3, 3, -math.inf), *told).action is Action.DOWN


@pytest.mark.parametrize("view", [View({}, stale=frozenset({Signal.GPU})), View({}, silent=("inference-2",))])
def test_what_is_not_known_keeps_every_replica(view: View) -> None:
    """A stale signal or a silent replica: never down, and the decision says which."""
    found = judged(Pool(3, 3, -math.inf), *readings(under=set(RULED)), view=view)
    assert (found.action, found.cause) == (Action.HOLD, Cause.NO_DATA)
    assert found.stale in (("gpu",), ("inference-2",))


def test_what_is_not_known_does_not_stop_more() -> None:
    """The signals that are there ask for one more."""
    found = judged(
        Pool(3, 3, -math.inf), *readings(over={Signal.CPU, Signal.QUEUE}), view=View({}, silent=("x",))
    )
    assert found.action is Action.UP


def test_no_signal_at_all_decides_nothing() -> None:
    """ "All of none" is not a reason to take a replica away."""
    assert judged(Pool(3, 3, -math.inf)).cause is Cause.NO_DATA
    assert judged(Pool(3, 3, -math.inf), reading(Signal.REQUEST_RATE)).cause is Cause.NO_DATA


@pytest.mark.parametrize(("age", "action"), [(0.0, Action.HOLD), (299.9, Action.HOLD), (300.0, Action.UP)])
def test_a_change_is_followed_by_a_cooldown(age: float, action: Action) -> None:
    """Exactly as long as it is set."""
    pool = Pool(3, 3, 1000.0 - age)
    found = judged(pool, *readings(over={Signal.CPU, Signal.QUEUE}))
    assert found.action is action
    assert found.cause in (Cause.COOLDOWN, Cause.OVERLOADED)


def test_an_operators_number_wins() -> None:
    """Whatever the signals say."""
    pool = Pool(3, 3, -math.inf, pinned=True)
    for told in (readings(over=set(RULED)), readings(under=set(RULED))):
        assert judged(pool, *told).cause is Cause.PINNED


def test_one_change_at_a_time() -> None:
    """While replicas are on their way the policy waits."""
    assert judged(Pool(3, 2, -math.inf, changing=True), *readings(over=set(RULED))).cause is Cause.CHANGING


def test_bounds_come_first() -> None:
    """Also for a pinned number: what the file allows may have changed."""
    for pinned in (True, False):
        assert judged(Pool(14, 14, -math.inf, pinned=pinned)).after == 10
        assert judged(Pool(0, 0, -math.inf, pinned=pinned)).cause is Cause.OUT_OF_BOUNDS


def test_the_ends_are_told() -> None:
    """A number that can't be changed is held, and why."""
    assert judged(Pool(10, 10, -math.inf), *readings(over=set(RULED))).cause is Cause.AT_MAX
    assert judged(Pool(1, 1, -math.inf), *readings(under=set(RULED))).cause is Cause.AT_MIN


POOLS = st.builds(
    Pool,
    desired=st.integers(1, 10),
    running=st.integers(0, 12),
    changing=st.booleans(),
    pinned=st.booleans(),
    auto=st.booleans(),
    changed_at=st.floats(0.0, 1000.0),
)
SETS = st.frozensets(st.sampled_from(RULED))
VIEWS = st.builds(
    View,
    values=st.just({}),
    stale=st.frozensets(st.sampled_from(Signal), max_size=2),
    silent=st.lists(st.sampled_from(["a", "b"]), max_size=1).map(tuple),
)


@given(pool=POOLS, over=SETS, under=SETS, known=SETS, view=VIEWS, now=st.floats(1000.0, 2000.0))
def test_no_decision_breaks_a_rule(
    pool: Pool, over: set[Signal], under: set[Signal], known: set[Signal], view: View, now: float
) -> None:
    """Within the bounds, one step, never down on what is not known, never in the cooldown, never over an operator."""
    told = tuple(
        reading(signal, over=signal in over, under=signal in under - over)
        for signal in RULED
        if signal in known
    )
    found = decide(pool, view, told, RULES, now)
    assert found == decide(pool, view, told, RULES, now)
    assert RULES.least <= found.after <= RULES.most
    assert abs(found.after - found.before) <= 1
    assert (found.action is Action.HOLD) == (found.after == found.before)
    if found.action is not Action.HOLD:
        assert pool.auto
        assert not pool.pinned
        assert not pool.changing
        assert now - pool.changed_at >= RULES.cooldown_s
    if found.action is Action.UP:
        assert len(over & known) >= 2
    if found.action is Action.DOWN:
        assert not view.stale
        assert not view.silent
        assert known
        assert known <= under - over


@given(pool=POOLS, over=SETS, now=st.floats(1000.0, 2000.0))
def test_more_signals_never_mean_fewer_replicas(pool: Pool, over: set[Signal], now: float) -> None:
    """Another signal over its threshold never takes a replica away."""
    for more in RULED:
        few = decide(pool, FRESH, readings(over=set(over)), RULES, now)
        many = decide(pool, FRESH, readings(over={*over, more}), RULES, now)
        assert many.after >= few.after


def test_the_defaults_are_the_specifications() -> None:
    """1 to 10, and 300 s."""
    assert Rules() == RULES
    assert replace(Rules(), most=3).within(5) == 3
