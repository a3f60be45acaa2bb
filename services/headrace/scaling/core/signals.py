"""What replicas report of their load: smoothed, aged, and put together for the pool.

Of each three successive reports the middle value goes into an exponential mean,
so that one report that is out of line changes nothing at all. A replica counts
once it has reported three times.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import fmean, median

MIDDLE_OF = 3


class Signal(Enum):
    """What is looked at; by the names of headrace.yaml."""

    CPU = "cpu"  # share of the cores that the process may use
    MEMORY = "memory"  # share of the memory that there is
    GPU = "gpu"  # share; only where there is one
    RESPONSE_TIME = "response_s"  # mean seconds of an answer
    QUEUE = "queue"  # requests that wait
    REQUEST_RATE = "rate"  # requests a second; told, and in no rule


_TOGETHER: Mapping[Signal, Callable[[Sequence[float]], float]] = {
    Signal.CPU: fmean,
    Signal.GPU: fmean,
    # A mean: a threshold then says the same at every number of replicas.
    Signal.QUEUE: fmean,
    # Replicas of one machine share its memory, and report the same.
    Signal.MEMORY: max,
    # Who meets the slowest replica waits, however quick the others are.
    Signal.RESPONSE_TIME: max,
    Signal.REQUEST_RATE: math.fsum,
}


@dataclass(frozen=True, slots=True)
class View:
    """The pool's signals at one moment.

    `values` are of those that have fresh reports; one that no replica ever
    reported is in neither. `stale` are signals that a replica reports no more,
    `silent` the replicas of which nothing, or nothing fresh, is known.
    """

    values: Mapping[Signal, float]
    stale: frozenset[Signal] = frozenset()
    silent: tuple[str, ...] = ()


@dataclass(slots=True)
class _Series:
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=MIDDLE_OF))
    value: float | None = None
    at: float = 0.0

    def add(self, value: float, now: float, smoothing_s: float) -> None:
        self.recent.append(value)
        if len(self.recent) == MIDDLE_OF:
            middle = median(self.recent)
            old = middle if self.value is None else self.value
            weight = 1.0 if smoothing_s <= 0.0 else -math.expm1(-(now - self.at) / smoothing_s)
            self.value = old + weight * (middle - old)
        self.at = now


class Signals:
    """The reports of every replica. Older ones than `stale_s` no longer count."""

    def __init__(self, smoothing_s: float, stale_s: float) -> None:
        self._smoothing_s = smoothing_s
        self._stale_s = stale_s
        self._replicas: dict[str, dict[Signal, _Series]] = {}

    def report(self, replica: str, values: Mapping[Signal, float], now: float) -> None:
        """What `replica` said; a value that is no finite number was not said."""
        series = self._replicas.setdefault(replica, {})
        for signal, value in values.items():
            if math.isfinite(value):
                series.setdefault(signal, _Series()).add(value, now, self._smoothing_s)

    def view(self, replicas: Collection[str], now: float) -> View:
        """The pool of these replicas; forgets all others."""
        self._replicas = {name: told for name, told in self._replicas.items() if name in replicas}
        fresh: dict[Signal, list[float]] = {}
        stale: set[Signal] = set()
        silent = []
        for name in replicas:
            heard = False
            for signal, series in self._replicas.get(name, {}).items():
                if now - series.at > self._stale_s:
                    stale.add(signal)
                elif series.value is not None:
                    fresh.setdefault(signal, []).append(series.value)
                    heard = True
            if not heard:
                silent.append(name)
        values = {signal: _TOGETHER[signal](each) for signal, each in fresh.items()}
        return View(values, frozenset(stale), tuple(silent))
