"""How many replicas there should be: one decision from what is known at one moment.

The order is the design's: an operator's number and the bounds, then more (any
two signals), then less (all signals, none of them missing), each within the
cooldown and one step at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from headrace.scaling.core.conditions import Reading
from headrace.scaling.core.signals import View

ENOUGH = 2
"""So many signals over their thresholds ask for one more replica."""


class Action(Enum):
    """What a decision does to the desired number."""

    HOLD = auto()
    UP = auto()
    DOWN = auto()


class Cause(Enum):
    """Why."""

    STEADY = auto()  # no rule asks for anything
    OVERLOADED = auto()  # two signals or more are over their thresholds
    IDLE = auto()  # every signal is under its threshold
    PINNED = auto()  # an operator's number
    UNPINNED = auto()  # an operator left it to the policy
    AUTO_OFF = auto()  # nobody left it to the policy
    OUT_OF_BOUNDS = auto()  # the number was not within the bounds
    AT_MAX = auto()  # more are asked for than there may be
    AT_MIN = auto()  # fewer are asked for than there must be
    COOLDOWN = auto()  # the last change was a moment ago
    CHANGING = auto()  # replicas are still on their way
    NO_DATA = auto()  # a replica does not tell its load, or no longer all of it


@dataclass(frozen=True, slots=True)
class Rules:
    """The bounds of the number, both allowed, and the time between two changes."""

    least: int = 1
    most: int = 10
    cooldown_s: float = 300.0

    def within(self, replicas: int) -> int:
        """The nearest number that is allowed."""
        return min(self.most, max(self.least, replicas))


@dataclass(frozen=True, slots=True)
class Pool:
    """What is so now.

    `running` replicas really run and take requests; `changing` while others are
    being started or stopped. `pinned`: an operator said the desired number.
    `changed_at` is when it was last changed, or when the cooldown began
    otherwise (monotonic). With `auto` off the policy decides nothing.
    """

    desired: int
    running: int
    changed_at: float
    changing: bool = False
    pinned: bool = False
    auto: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision, with all that it was made from."""

    action: Action
    cause: Cause
    before: int
    after: int
    running: int
    readings: tuple[Reading, ...] = ()
    stale: tuple[str, ...] = ()


def decide(pool: Pool, view: View, readings: Sequence[Reading], rules: Rules, now: float) -> Decision:
    """What the policy says at `now`. Changes nothing."""
    cause, after = _ruled(pool, view, readings, rules, now)
    stale = (*view.silent, *sorted(signal.value for signal in view.stale))
    return decision(cause, pool, after, tuple(readings), stale)


def decision(
    cause: Cause, pool: Pool, after: int, readings: tuple[Reading, ...] = (), stale: tuple[str, ...] = ()
) -> Decision:
    """The decision for `after` replicas."""
    before = pool.desired
    action = Action.HOLD if after == before else Action.UP if after > before else Action.DOWN
    return Decision(action, cause, before, after, pool.running, readings, stale)


def _ruled(
    pool: Pool, view: View, readings: Sequence[Reading], rules: Rules, now: float
) -> tuple[Cause, int]:
    desired = pool.desired
    if not pool.pinned and not pool.auto:
        return Cause.AUTO_OFF, desired
    if rules.within(desired) != desired:
        return Cause.OUT_OF_BOUNDS, rules.within(desired)
    if pool.pinned:
        return Cause.PINNED, desired
    if pool.changing:
        return Cause.CHANGING, desired
    step = _wanted(view, readings)
    if not step:
        return (Cause.NO_DATA if _unknown(view, readings) else Cause.STEADY), desired
    if rules.within(desired + step) == desired:
        return (Cause.AT_MAX if step > 0 else Cause.AT_MIN), desired
    if now - pool.changed_at < rules.cooldown_s:
        return Cause.COOLDOWN, desired
    return (Cause.OVERLOADED if step > 0 else Cause.IDLE), desired + step


def _wanted(view: View, readings: Sequence[Reading]) -> int:
    """One more, one less, or 0."""
    ruled = [reading for reading in readings if reading.threshold is not None]
    if sum(reading.over for reading in ruled) >= ENOUGH:
        return 1
    if _unknown(view, readings):
        return 0
    return -1 if all(reading.under for reading in ruled) else 0


def _unknown(view: View, readings: Sequence[Reading]) -> bool:
    """Whether something is not known that should be: then nothing is taken away."""
    known = any(reading.threshold is not None for reading in readings)
    return bool(view.silent or view.stale) or not known
