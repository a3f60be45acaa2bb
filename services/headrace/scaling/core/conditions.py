"""For how long each signal has been over, or under, its thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.scaling.core.signals import Signal, View


@dataclass(frozen=True, slots=True)
class Threshold:
    """A signal asks for one more replica above `up`, and for one less below `down`."""

    up: float
    down: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal in a decision.

    `over` and `under` say that it was beyond its threshold for the whole of the
    window; `for_s` is for how long it has been beyond either until now.
    `threshold` is None for a signal that is in no rule.
    """

    signal: Signal
    value: float
    threshold: Threshold | None
    over: bool
    under: bool
    for_s: float


class Conditions:
    """Remembers since when; looks away for longer than `gap_s` and everything begins anew."""

    def __init__(self, thresholds: Mapping[Signal, Threshold], window_s: float, gap_s: float) -> None:
        self._thresholds = thresholds
        self._window_s = window_s
        self._gap_s = gap_s
        self._over: dict[Signal, float] = {}
        self._under: dict[Signal, float] = {}
        self._looked_at: float | None = None

    def look(self, view: View, now: float) -> tuple[Reading, ...]:
        """Each signal that has a fresh value, in the order of `Signal`."""
        if self._looked_at is None or now - self._looked_at > self._gap_s:
            self._over, self._under = {}, {}  # nobody knows what was in between
        self._looked_at = now
        return tuple(self._reading(signal, view, now) for signal in self._known(view))

    def _known(self, view: View) -> list[Signal]:
        for since in (self._over, self._under):
            for signal in since.keys() - view.values.keys():
                del since[signal]
        return [signal for signal in Signal if signal in view.values]

    def _reading(self, signal: Signal, view: View, now: float) -> Reading:
        value, threshold = view.values[signal], self._thresholds.get(signal)
        if threshold is None:
            return Reading(signal, value, None, False, False, 0.0)
        over = self._since(self._over, signal, now, beyond=value > threshold.up)
        under = self._since(self._under, signal, now, beyond=value < threshold.down)
        for_s = max(over or 0.0, under or 0.0)
        return Reading(signal, value, threshold, self._lasts(over), self._lasts(under), for_s)

    def _since(self, since: dict[Signal, float], signal: Signal, now: float, *, beyond: bool) -> float | None:
        if not beyond:
            since.pop(signal, None)
            return None
        return now - since.setdefault(signal, now)

    def _lasts(self, for_s: float | None) -> bool:
        return for_s is not None and for_s >= self._window_s
