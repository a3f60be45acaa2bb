"""What a batch costs: time(n) of one model, fitted to the batches that ran.

`n` counts rows, or rows x padded length where lengths differ. Pure, and robust:
old batches fade, a stall counts as a bounded surprise, and a model whose time
does not follow from its size is never called known.
"""

from dataclasses import dataclass
from math import sqrt

FADING = 0.94
"""Weight of each earlier batch against the next one: about the last 17 count."""

KNOWN_AFTER = 16
LEARNED, QUICK_S = 64, 0.005
"""Batches after which only every eighth one is learned from, where they are this quick."""

MAX_ERROR = 0.5
"""Mean relative error past which the curve predicts nothing."""

SURPRISE = 4.0
"""A batch counts as at most this many times what was predicted, so that one stall is no law."""

SAME_COST = 1.05
"""Sizes whose rows cost within 5 % of each other are equal."""

BIN_KNOWN, LATEST = 8, 0.1
"""Batches of a size before it is compared with others, and the weight of the newest."""

FORGET_EVERY = 512
"""Batches after which what is known of each size is halved, so that a size that is left alone is tried again."""

_UNSEEN_UNIT_S = 1e-3
_SLOPE_PRIOR = 0.004


@dataclass(slots=True)
class SizeBin:
    """Batches of about one size (a power of two): how many count, their mean size, seconds for each unit.

    `occupied_s` are the seconds of its instance for each unit: the hand-over to it and back is among them.
    `variance` is theirs.
    """

    count: int = 0
    size: float = 0.0
    unit_s: float = 0.0
    occupied_s: float = 0.0
    variance: float = 0.0

    def add(self, n: int, seconds: float, occupied_s: float) -> None:
        """A batch of `n` units; about the last ten count."""
        self.count += 1
        weight = max(LATEST, 1 / self.count)
        self.size += weight * (n - self.size)
        self.unit_s += weight * (seconds / n - self.unit_s)
        off = occupied_s / n - self.occupied_s
        self.occupied_s += weight * off
        self.variance = (1 - weight) * (self.variance + weight * off * off)

    @property
    def doubt_s(self) -> float:
        """Twice the standard error of `occupied_s`."""
        return 2 * sqrt(self.variance * max(LATEST / (2 - LATEST), 1 / self.count))


class CostCurve:
    """time(n) = base_s + slope_s x n, and the measured means by size beside it."""

    __slots__ = (
        "_n",
        "_nn",
        "_nt",
        "_t",
        "_w",
        "base_s",
        "best_s",
        "bins",
        "cap",
        "count",
        "error",
        "full_s",
        "known",
        "most",
        "slope_s",
        "unit_s",
    )

    def __init__(self, unit_s: float = _UNSEEN_UNIT_S) -> None:
        self.count = 0
        self.base_s = 0.0
        self.slope_s = unit_s
        self.unit_s = unit_s
        """Seconds for each unit of a large batch: what a unit of waiting work costs."""
        self.best_s = unit_s
        """The fewest that were measured for a unit, at any size."""
        self.cap = 0
        """The largest size worth running; 0: none was seen to be too large."""
        self.most = 0
        """The largest size seen, and what it is predicted to take now."""
        self.full_s = 0.0
        self.bins: dict[int, SizeBin] = {}
        self._w = self._n = self._t = self._nn = self._nt = 0.0
        self.error = 1.0
        """Mean relative error of the latest predictions."""
        self.known = False
        """Whether predictions may refuse or shorten anything."""

    def predict(self, n: int) -> float:
        """Seconds that a batch of `n` takes."""
        return self.base_s + self.slope_s * n

    def observe(self, n: int, seconds: float, handed_s: float = 0.0) -> None:
        """Learns from a batch that ran `seconds`; from every eighth quick one, once there were many.

        `handed_s` is what its instance lost to the hand-over besides. It says nothing of how long a batch
        takes and much of which sizes pay: where threads wait for a core, a quick model's costs ten times its batch.
        """
        self.count += 1
        if self.count > LEARNED and seconds < QUICK_S and self.count & 7:
            return
        if self.count > 1:
            predicted = self.base_s + self.slope_s * n
            error = abs(seconds - predicted) / max(predicted, seconds, 1e-9)
            self.error += (0.1 if self.count > 2 else 1.0) * (error - self.error)
            if self.count > KNOWN_AFTER:
                seconds = min(seconds, SURPRISE * predicted)
        self._w = self._w * FADING + 1
        self._n = self._n * FADING + n
        self._t = self._t * FADING + seconds
        self._nn = self._nn * FADING + n * n
        self._nt = self._nt * FADING + n * seconds
        self._fit()
        self._bin(n, seconds, seconds + handed_s)
        if n > self.most:
            self.most = n
        self.full_s = self.base_s + self.slope_s * self.most
        useful = min(self.most, self.cap) if self.cap else self.most
        self.unit_s = self.predict(useful) / useful
        self.known = self.count >= KNOWN_AFTER and self.error < MAX_ERROR

    def _fit(self) -> None:
        n, t = self._n / self._w, self._t / self._w
        spread = max(0.0, self._nn / self._w - n * n)
        shared = self._nt / self._w - n * t
        # One size alone tells no slope: half of its time is then taken to be fixed.
        prior = _SLOPE_PRIOR * n * n
        slope = (shared + prior * 0.5 * t / n) / (spread + prior)
        self.slope_s = min(max(0.0, slope), t / n)
        self.base_s = t - self.slope_s * n

    def _bin(self, n: int, seconds: float, occupied_s: float) -> None:
        self.bins.setdefault((n - 1).bit_length(), SizeBin()).add(n, seconds, occupied_s)
        if self.count % FORGET_EVERY == 0:
            for each in self.bins.values():
                each.count //= 2
        if self.count % 32 == 0 or self.count < LEARNED:
            self._judge_sizes()

    def _judge_sizes(self) -> None:
        measured = {place: each for place, each in self.bins.items() if each.count >= BIN_KNOWN}
        self.best_s = min((each.unit_s for each in measured.values()), default=self._t / self._n)
        # On a busy machine the means of equal sizes lie further apart than that: only what is beyond doubt counts.
        least = SAME_COST * min((each.occupied_s + each.doubt_s for each in measured.values()), default=0.0)
        good = max((p for p, each in measured.items() if each.occupied_s - each.doubt_s <= least), default=-1)
        self.cap = 2**good if measured and good < max(measured) else 0
