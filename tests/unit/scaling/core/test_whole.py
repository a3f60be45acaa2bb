"""Reports, smoothing, conditions and policy together, over any course of a load."""

import math
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.scaling.core.conditions import Conditions
from headrace.scaling.core.policy import Action, Pool, Rules, decide
from headrace.scaling.core.signals import Signal, Signals
from headrace.scaling.policy_settings import THRESHOLDS

RULES = Rules(1, 4, 20.0)
WINDOW_S, FRESH_S = 5.0, 3.0
LEVELS = {"busy": 1.0, "middle": 0.4, "idle": 0.0}
"""In the middle no signal is over the threshold of either direction: what is decided there is decided by what was."""

LOADS = {
    Signal.CPU: (0.1, 0.95),
    Signal.MEMORY: (0.2, 0.9),
    Signal.RESPONSE_TIME: (0.1, 4.0),
    Signal.QUEUE: (0.0, 90.0),
}
STEPS = st.lists(
    st.tuples(st.sampled_from(sorted(LEVELS)), st.integers(1, 15), st.booleans()), min_size=1, max_size=12
)


def values(level: str) -> dict[Signal, float]:
    """A load between the lowest and the highest of each signal."""
    return {signal: low + LEVELS[level] * (high - low) for signal, (low, high) in LOADS.items()}


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_a_pool_under_any_load_keeps_the_rules(steps: list[tuple[str, int, bool]]) -> None:
    """In bounds; one step a cooldown; never for a moment's load or idleness, and never down while one is silent."""
    signals, found = Signals(WINDOW_S / 3, FRESH_S), Conditions(THRESHOLDS, WINDOW_S, FRESH_S)
    now, desired, changed_at = 0.0, 2, -math.inf
    # What a silent replica said last counts for as long as it is fresh.
    recent: deque[str] = deque(maxlen=int(WINDOW_S + FRESH_S) + 1)
    for level, seconds, one_is_silent in steps:
        for _ in range(seconds):
            now += 1.0
            names = [f"inference-{number}" for number in range(desired)]
            for name in names[: len(names) - one_is_silent]:
                signals.report(name, values(level), now)
            recent.append(level)
            view = signals.view(names, now)
            pool = Pool(desired, desired, changed_at)
            decision = decide(pool, view, found.look(view, now), RULES, now)
            assert RULES.least <= decision.after <= RULES.most
            if decision.action is Action.HOLD:
                continue
            assert abs(decision.after - desired) == 1
            assert now - changed_at >= RULES.cooldown_s
            if decision.action is Action.DOWN:
                assert not view.silent
                assert recent.count("idle") >= 2
            else:
                assert recent.count("busy") >= 2
            desired, changed_at = decision.after, now
