"""Whose turn it is: the request that the next batch begins with, and whether it has to wait for company."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from math import inf
from typing import Generic, TypeVar

from headrace.inference.core.lanes import Item, Lane
from headrace.inference.core.levels import Level
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.windows import Group, Window, window_of

T = TypeVar("T", bound=Item)


class Turns(Generic[T]):
    """Reads a queue's levels, shapes and lanes; changes none of them."""

    def __init__(
        self,
        policy: BatchPolicy,
        levels: Sequence[Level[T]],
        groups: Mapping[Hashable, Group[T]],
        lanes: Mapping[Hashable, Lane[T]],
    ) -> None:
        self._policy = policy
        self._levels = levels
        self._groups = groups
        self._lanes = lanes

    def lead(self, now: float) -> tuple[T | None, str]:
        """The request whose turn it is, and what ended its wait; None when all wait on."""
        if self._policy.eager:
            return self._first_of_all(), "idle"
        windows = list(self._windows())
        ripe = {window.bucket: why for window in windows if (why := window.ripe(self._policy, now))}
        if not ripe:
            return None, ""
        if len(ripe) == len(windows):
            first = self._first_of_all()
            return first, "" if first is None else ripe[first.bucket]
        heads = [(lane, head) for lane in self._lanes.values() if (head := lane.head()) is not None]
        *_, first = min(
            (lane.level.rank, lane.account.tag, head.due, head.number, head)
            for lane, head in heads
            if head.bucket in ripe
        )
        return first, ripe[first.bucket]

    def next_ripe(self) -> float:
        """When the first wait ends if nobody else comes."""
        return min(window.cut_at for window in self._windows())

    def _first_of_all(self) -> T | None:
        level = self._levels[0]
        if len(self._levels) > 1:
            live = [one for one in self._levels if one.live]
            level = live[0]
            if not level.holds_delayed:
                chosen = min(live, key=self._aged)
                if chosen is not level:
                    return chosen.arrivals.oldest()
        account = level.first()
        lane = account and account.first()
        return lane.head() if lane else None

    def _aged(self, level: Level[T]) -> float:
        # Whoever came aging_s earlier goes before a level higher. Who was delayed waits for all of its level.
        oldest = None if level.holds_delayed else level.arrivals.oldest()
        return inf if oldest is None else oldest.arrived + level.rank * self._policy.aging_s

    def _windows(self) -> Iterator[Window]:
        first: dict[Hashable, T] = {}
        for lane in self._lanes.values():
            head = lane.head()
            if head is not None and head.due < first.setdefault(head.bucket, head).due:
                first[head.bucket] = head
        for bucket, head in first.items():
            yield window_of(self._groups[bucket], head, self._policy.max_delay_s)
