"""Where a queue's requests wait: a lane for each level, tenant, shape and length class; and what is known of each shape."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from headrace.inference.core.costs import CostCurve
from headrace.inference.core.lanes import Item, Lane
from headrace.inference.core.levels import Level
from headrace.inference.core.windows import Group

KEPT = 1024
"""Lanes, and the shapes behind them, that are remembered although nobody waits there."""

T = TypeVar("T", bound=Item)


class Places(Generic[T]):
    """The lanes by what they hold, the groups by shape. `weights` has the tenants whose weight is not 1."""

    def __init__(self, levels: Sequence[Level[T]], weights: Mapping[str, float]) -> None:
        self.lanes: dict[Hashable, Lane[T]] = {}
        self.groups: dict[Hashable, Group[T]] = {}
        self._levels = levels
        self._weights = weights
        self._kept = KEPT

    def __iter__(self) -> Iterator[T]:
        for lane in self.lanes.values():
            yield from lane.items()

    def lane(self, item: T) -> Lane[T]:
        """Where `item` waits."""
        lane = self.lanes.get((item.level, item.tenant, item.bucket, item.length_class))
        if lane is None:
            lane = self.open(item, next(one for one in self._levels if one.rank == item.level))
        return lane

    def open(self, item: T, level: Level[T]) -> Lane[T]:
        """Makes the lane of `item` in `level`."""
        if len(self.lanes) >= self._kept:
            self._tidy()
        group = self.groups.get(item.bucket)
        if group is None:
            group = self.groups[item.bucket] = Group(CostCurve())
        lane = level.lane(item, self._weights.get(item.tenant, 1.0), group)
        self.lanes[level.rank, item.tenant, item.bucket, item.length_class] = lane
        return lane

    def _tidy(self) -> None:
        for key in [key for key, lane in self.lanes.items() if lane.head() is None]:
            del self.lanes[key]
        self._kept = 2 * len(self.lanes) + KEPT
        for level in self._levels:
            level.tidy()
        if len(self.groups) > KEPT // 4:
            for bucket in [bucket for bucket, group in self.groups.items() if not group.rows]:
                del self.groups[bucket]
