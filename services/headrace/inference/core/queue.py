"""One model's queue, and when a batch is cut from it.

Pure: every method takes `now` (monotonic seconds) and tells what is to be done;
the shell (`batcher.py`) does it. Requests of different shapes wait in different
buckets, because they can't share a batch; the bucket whose first request has
waited longest goes first, and inside a bucket the order of arrival holds.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch closes.

    `max_delay_s` is an upper bound, counted from the arrival of the batch's
    first request. An `eager` model's idle instance takes what is there at once;
    otherwise it waits for `max_batch_size` rows or the end of the delay.
    `max_queue` bounds the requests that wait, exactly. `preferred` sizes are the
    ones that the model runs best at: of what waits, the largest of them that can
    be filled is taken; where none can, all of it.
    """

    max_batch_size: int = 32
    max_delay_s: float = 0.1
    eager: bool = True
    max_queue: int = 4096
    preferred: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Item:
    """One request that waits: `rows` of shape `bucket`."""

    rows: int
    bucket: Hashable
    arrived: float
    deadline: float | None


T = TypeVar("T", bound=Item)


@dataclass(frozen=True, slots=True)
class Cut(Generic[T]):
    """A batch to execute now. `items` in order of arrival; never empty."""

    items: list[T]
    rows: int
    why: str


@dataclass(slots=True)
class Taken(Generic[T]):
    """What `take` decided: a batch or none, and the requests that are too late."""

    cut: Cut[T] | None = None
    expired: list[T] = field(default_factory=list)


class BatchQueue(Generic[T]):
    """The requests of one model that wait for an instance."""

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._buckets: dict[Hashable, OrderedDict[T, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        for bucket in self._buckets.values():
            yield from bucket

    def offer(self, item: T) -> bool:
        """Lets `item` wait; False when the queue is full."""
        if self._size >= self._policy.max_queue:
            return False
        bucket = self._buckets.get(item.bucket)
        if bucket is None:
            bucket = self._buckets[item.bucket] = OrderedDict()
        bucket[item] = None
        self._size += 1
        return True

    def withdraw(self, item: T) -> bool:
        """Removes a request that nobody waits for; False when it no longer waits."""
        bucket = self._buckets.get(item.bucket)
        if bucket is None or item not in bucket:
            return False
        self._remove(item, bucket)
        return True

    def expire(self, now: float) -> list[T]:
        """Removes the requests whose deadline has passed."""
        late = [item for item in self if item.deadline is not None and item.deadline <= now]
        for item in late:
            self.withdraw(item)
        return late

    def next_deadline(self) -> float | None:
        """The earliest deadline of a waiting request."""
        return min((item.deadline for item in self if item.deadline is not None), default=None)

    def take(self, now: float) -> Taken[T]:
        """The batch that an idle instance is to execute now, if any.

        Requests whose deadline has passed are never part of a batch.
        """
        taken: Taken[T] = Taken()
        for bucket in sorted(self._buckets.values(), key=_first_arrival):
            self._drop_late_heads(bucket, now, taken.expired)
            why = self._ripe(bucket, now)
            if why:
                taken.cut = self._cut(bucket, now, why, taken.expired)
                break
        return taken

    def next_ripe(self) -> float | None:
        """When the first delay ends, for an instance that stays idle until then."""
        if not self._size:
            return None
        return min(map(_first_arrival, self._buckets.values())) + self._policy.max_delay_s

    def _ripe(self, bucket: "OrderedDict[T, None]", now: float) -> str:
        if not bucket:
            return ""
        if self._policy.eager:
            return "idle"
        if _first_arrival(bucket) + self._policy.max_delay_s <= now:
            return "delay"
        rows = 0
        for item in bucket:
            rows += item.rows
            if rows >= self._policy.max_batch_size:
                return "full"
        return ""

    def _cut(self, bucket: "OrderedDict[T, None]", now: float, why: str, expired: list[T]) -> Cut[T]:
        items: list[T] = []
        rows = 0
        size = self._size_for(bucket)
        while bucket:
            item = next(iter(bucket))
            if item.deadline is not None and item.deadline <= now:
                expired.append(item)
            elif not items or rows + item.rows <= size:
                items.append(item)
                rows += item.rows
            else:
                break
            self._remove(item, bucket)
        return Cut(items, rows, "full" if rows >= size else why)

    def _size_for(self, bucket: "OrderedDict[T, None]") -> int:
        """How many rows the next batch of this bucket is to have at the most."""
        largest = self._policy.max_batch_size
        if not self._policy.preferred:
            return largest
        rows = 0
        for item in bucket:
            rows += item.rows
            if rows >= largest:
                break
        return max((size for size in self._policy.preferred if size <= rows), default=largest)

    def _drop_late_heads(self, bucket: "OrderedDict[T, None]", now: float, expired: list[T]) -> None:
        while bucket:
            item = next(iter(bucket))
            if item.deadline is None or item.deadline > now:
                return
            expired.append(item)
            self._remove(item, bucket)

    def _remove(self, item: T, bucket: "OrderedDict[T, None]") -> None:
        del bucket[item]
        self._size -= 1
        if not bucket:
            self._buckets.pop(item.bucket, None)


def _first_arrival(bucket: "OrderedDict[T, None]") -> float:
    return next(iter(bucket)).arrived
