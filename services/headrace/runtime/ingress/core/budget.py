"""The bytes of requests that may be in memory at once, across all connections.

A request takes all that it needs in one go, before its body is kept, and gives
it back once: nobody holds a part while waiting for more, so waiting can't
deadlock. First come, first served, so a large request is not starved by small ones.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

Waiter = TypeVar("Waiter")


class ByteBudget(Generic[Waiter]):
    """Counts bytes out and in; knows who waits for how many. `total` bounds what is out."""

    __slots__ = ("_free", "_total", "_waiting")

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: OrderedDict[Waiter, int] = OrderedDict()

    @property
    def taken(self) -> int:
        """Bytes that are out."""
        return self._total - self._free

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, size: int) -> bool:
        """Takes `size` bytes, or none: when they aren't free, or others wait already."""
        if self._waiting or size > self._free:
            return False
        self._free -= size
        return True

    def wait(self, waiter: Waiter, size: int) -> None:
        """Queues `waiter`, whom a later `give` or `forget` will name once it has `size` bytes."""
        self._waiting[waiter] = size

    def give(self, size: int) -> list[Waiter]:
        """Returns bytes; names those waiters that now have theirs, in order."""
        self._free += size
        return self._grant() if self._waiting else []

    def forget(self, waiter: Waiter) -> list[Waiter]:
        """Takes `waiter` out of the queue; names those that stood behind it and now have theirs."""
        if self._waiting.pop(waiter, None) is None:
            return []
        return self._grant()

    def _grant(self) -> list[Waiter]:
        granted = []
        while self._waiting:
            waiter, size = next(iter(self._waiting.items()))
            if size > self._free:
                break
            self._free -= size
            del self._waiting[waiter]
            granted.append(waiter)
        return granted
