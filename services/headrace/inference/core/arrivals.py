"""The oldest of what waits."""

from collections import deque
from typing import Generic, TypeVar

from headrace.inference.core.lanes import DEAD_ALLOWED, Item

T = TypeVar("T", bound=Item)


class Arrivals(Generic[T]):
    """Requests in order of arrival, to know the oldest that still waits: anywhere, or in one level."""

    __slots__ = ("_items", "_level", "_limit")

    def __init__(self, level: object = None) -> None:
        self._items: deque[T] = deque()
        self._limit = DEAD_ALLOWED
        self._level = level

    def add(self, item: T) -> None:
        """Takes the newest."""
        self._items.append(item)
        if len(self._items) > self._limit:
            self._items = deque(filter(self._waits, self._items))
            self._limit = 2 * len(self._items) + DEAD_ALLOWED

    def oldest(self) -> T | None:
        """The one that has waited longest; None when nobody waits."""
        items = self._items
        while items:
            if self._waits(items[0]):
                return items[0]
            items.popleft()
        return None

    def _waits(self, item: T) -> bool:
        lane = item.lane
        return lane is not None and (self._level is None or lane.level is self._level)
