"""A batch while it is put together: what still fits, and why no more does."""

from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from headrace.inference.core.costs import SAME_COST, CostCurve
from headrace.inference.core.lanes import Item

MARGIN = 1.1
MARGIN_S = 0.001
"""Added to what is predicted before it is held against a deadline: the answer has a way to go too."""

WORTH = 1.25
"""A batch is not cut short for a deadline while its rows cost more than this many times the best."""

T = TypeVar("T", bound=Item)


@dataclass(slots=True, eq=False)  # not frozen: that would triple the time to make one
class Cut(Generic[T]):
    """A batch to execute now. `items` in the order in which their turn came; never empty.

    `why` says what ended its wait: "idle" (an instance had nothing to do),
    "full", "delay" (the end of the window) or "slack" (a deadline).
    `bound` says why no more is in it: "all" (nothing else waits), "size", "preferred",
    "cost" (more rows would cost more each), "slack", "padding" or "room" (the
    next request is too large). `cells` is rows x longest, `padded` what of them is padding.
    """

    items: list[T]
    rows: int
    why: str
    bound: str = "all"
    cells: int = 0
    padded: int = 0
    predicted_s: float = 0.0
    curve: CostCurve | None = None


@dataclass(slots=True)
class Taken(Generic[T]):
    """What `take` decided: a batch or none, and the requests that are too late."""

    cut: Cut[T] | None = None
    expired: list[T] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that may not wait: its level is `full`, or it would be answered too late."""

    full: bool
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows a batch may have, and whose rule that is."""

    rows: int
    bound: str


def size_for(waiting: int, largest: int, preferred: tuple[int, ...], curve: CostCurve, length: int) -> Size:
    """The size of the next batch when `waiting` rows of `length` could be in it.

    The largest whose rows cost no more than at the best size seen; of sizes that
    cost the same, the largest preferred one.
    """
    size = Size(largest, "size")
    cap = curve.cap // length if curve.cap else 0
    if cap and cap < largest:
        size = Size(max(1, cap), "cost")
    reachable = min(waiting, size.rows)
    fits = [rows for rows in preferred if rows <= reachable]
    if fits:
        best = max(fits)
        here = curve.predict(best * length) / best
        there = curve.predict(reachable * length) / reachable
        if not curve.known or here <= there * SAME_COST:
            return Size(best, "preferred")
    return size


def worth(curve: CostCurve) -> int:
    """The smallest batch whose units do not cost more than `WORTH` times the best; smaller ones are for who waits alone."""
    spare = WORTH * curve.best_s - curve.slope_s
    return min(curve.most, int(curve.base_s / spare) + 1) if spare > 0 else curve.most


def hopeless(item: Item, curve: CostCurve, now: float, waiting: int) -> bool:
    """Whether `item` would miss its deadline in a batch that is worth running, out of `waiting` rows, begun now.

    What would be executed for nobody is not executed: others wait, who could be in time.
    """
    if item.deadline is None or not curve.known:
        return False
    run = curve.predict(max(item.rows * item.length, min(waiting * item.length, worth(curve))))
    return now + run > item.deadline


def lateness(item: Item, curve: CostCurve, wait: float, ahead: float, max_batch_size: int) -> float:
    """By how much `item` would miss its time, waiting `wait` seconds, `ahead` seconds of work before it.

    It has to be finished by its deadline and, unless it may be delayed, begun by
    `start_by`. Its batch takes no longer than what is ahead, nor than a full one.
    """
    alone = curve.predict(item.rows * item.length)
    run = min(alone + ahead, max(alone, curve.predict(max_batch_size * item.length)))
    late = -inf
    if item.deadline is not None:
        late = (wait + run) * MARGIN + MARGIN_S - (item.deadline - item.arrived)
    if not item.delays:
        late = max(late, wait * MARGIN - (item.start_by - item.arrived))
    return late


class Filling(Generic[T]):
    """A batch that is being filled."""

    __slots__ = (
        "_curve",
        "_now",
        "_padding",
        "_safe_until",
        "_size",
        "deadline",
        "items",
        "longest",
        "real",
        "rows",
    )

    def __init__(self, size: Size, padding: float, curve: CostCurve, now: float, longest: int) -> None:
        self.items: list[T] = []
        self.rows = 0
        self.real = 0
        self.longest = 0
        self.deadline = inf
        self._size = size
        self._padding = padding
        self._curve = curve
        self._now = now
        # Whoever has this long need not be asked about each further row.
        slowest = curve.predict(size.rows * longest) * MARGIN + MARGIN_S
        self._safe_until = now + slowest if curve.known else -inf

    def offer(self, item: T) -> str:
        """Puts `item` in; why it can't, where it can't."""
        rows = self.rows + item.rows
        if rows > self._size.rows:
            return self._size.bound if self.rows == self._size.rows else "room"
        if item.length != self.longest:
            longest = max(self.longest, item.length)
            cells = rows * longest
            if cells - self.real - item.rows * item.length > self._padding * cells:
                return "padding"
        if self.deadline < self._safe_until and self._late(item):
            return "slack"
        self.add(item)
        return ""

    def add(self, item: T) -> None:
        """Puts `item` in, whatever it is."""
        self.items.append(item)
        self.rows += item.rows
        self.real += item.rows * item.length
        if item.length > self.longest:
            self.longest = item.length
        deadline = item.deadline
        if deadline is not None and deadline < self.deadline:
            # One that is too late even alone sets no pace: shortening the batch would not save it.
            curve = self._curve
            if not curve.known or self._now + curve.predict(item.rows * item.length) * MARGIN <= deadline:
                self.deadline = deadline

    def cut(self, why: str, bound: str) -> Cut[T]:
        """The batch."""
        cells = self.rows * self.longest
        if self.rows >= self._size.rows:
            why, bound = "full", self._size.bound
        predicted = self._curve.predict(cells)
        return Cut(self.items, self.rows, why, bound, cells, cells - self.real, predicted, self._curve)

    def _late(self, item: T) -> bool:
        """Whether with `item` the batch would end too late for one that is in it."""
        cells = self.rows * self.longest
        if self._curve.predict(cells) > WORTH * self._curve.best_s * cells:
            return False
        more = (self.rows + item.rows) * max(self.longest, item.length)
        ends = self._now + self._curve.predict(more) * MARGIN + MARGIN_S
        return ends > self.deadline
