"""One model's queue: what may wait, and which batch an idle instance gets.

Pure: every method takes `now` (monotonic seconds) and tells what is to be done;
the shell (`batcher.py`) does it. What goes before what, and the module that has it:

1. who has left or is too late is never executed, nor who can't be in time any more while others wait (here);
2. what can't meet its deadline is refused at entry (`_too_late`);
3. the higher level first, a request that has aged before it (`turns.py`);
4. in a level the tenant that has had the least for its weight (`lanes.py`);
5. of a tenant the request that is due first (`lanes.py`);
6. its shape and length decide who can share its batch (`padding.py`);
7. the earliest deadline decides when the batch ends its wait (`windows.py`) and how
   large it may be, the cost curve what is worth running (`cutting.py`, `costs.py`);
8. preferred sizes decide between sizes that cost the same (`cutting.py`).
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Generic, TypeVar

from headrace.inference.core.cutting import Cut, Filling, Refusal, Taken, hopeless, lateness, size_for
from headrace.inference.core.forecast import Forecast
from headrace.inference.core.lanes import Item, Lane, Shelf
from headrace.inference.core.levels import Depth, Level, levels_of
from headrace.inference.core.places import Places
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.turns import Turns

REFUSING_S = 1.0
"""So long after a refusal for its deadline another is likely."""

T = TypeVar("T", bound=Item)


class BatchQueue(Generic[T]):
    """The requests of one model that wait for one of its instances.

    `weights` has the tenants whose weight is not 1.
    """

    def __init__(
        self, policy: BatchPolicy, instances: int = 1, weights: Mapping[str, float] | None = None
    ) -> None:
        self.policy = policy
        self._instances = instances
        self.levels: list[Level[T]] = levels_of(policy)
        places: Places[T] = Places(self.levels, weights or {})
        self._places = places
        self._lanes = places.lanes
        self.groups = places.groups
        self._several = len(self.levels) > 1
        self._turns: Turns[T] = Turns(policy, self.levels, self.groups, self._lanes)
        self._size = 0
        self._backlog = 0.0
        self._numbers = 0
        self._running: dict[int, float] = {}
        self._forecast = Forecast()
        self._refused_at = -inf

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        return iter(self._places)

    def remembered(self) -> int:
        """Lanes and accounts that are kept, also of those who do not wait now."""
        return len(self._lanes) + sum(level.remembered for level in self.levels)

    def depths(self) -> list[Depth]:
        """Who waits, the highest level first, in it who has most."""
        return [depth for level in self.levels for depth in level.depths()]

    def offer(self, item: T) -> Refusal | None:
        """Lets `item` wait from its arrival on; None unless it may not."""
        lane = self._places.lane(item)
        refusal = self._judged(lane, item)
        if refusal is None:
            self._numbers = item.number = self._numbers + 1  # once: its answer is known by it
            self._insert(lane, item)
        elif not refusal.full:
            self._refused_at = item.arrived
        return refusal

    def refusing(self, now: float) -> bool:
        """Whether somebody was refused for a deadline just before."""
        return now - self._refused_at <= REFUSING_S

    def refuses(self, item: T, coming: int = 0) -> Refusal | None:
        """What `offer` would say if `coming` more like it, of its tenant, waited; `item` does not wait."""
        return self._judged(self._places.lane(item), item, coming)

    def withdraw(self, item: T) -> bool:
        """Removes a request that nobody waits for; False when it no longer waits."""
        lane: Lane[T] | None = item.lane
        if lane is None:
            return False
        self._leave(lane, item)
        return True

    def expire(self, now: float) -> list[T]:
        """Removes the requests that are too late, and puts those back that are to be delayed."""
        late: list[T] = []
        for lane in list(self._lanes.values()):
            while (item := lane.head()) is not None and item.due <= now:
                self._late(item, now, late)
        return late

    def next_due(self) -> float | None:
        """When the next waiting request is too late, or delayed."""
        heads = (lane.head() for lane in self._lanes.values())
        due = min((head.due for head in heads if head is not None), default=inf)
        return None if due == inf else due

    def take(self, now: float) -> Taken[T]:
        """The batch that an idle instance is to execute now, if any.

        Requests that are too late are never part of a batch.
        """
        taken: Taken[T] = Taken()
        while self._size:
            item, why = self._turns.lead(now)
            if item is None:
                break
            if item.due <= now or self._lost(item, now):
                self._late(item, now, taken.expired)
                continue
            taken.cut = self._cut(item, now, why, taken.expired)
            self._running[id(taken.cut)] = now + taken.cut.predicted_s
            break
        return taken

    def completed(self, cut: Cut[T], seconds: float | None, handed_s: float = 0.0) -> None:
        """Learns what a batch took, and its hand-over besides; None for one that failed, which says nothing of its size."""
        self._running.pop(id(cut), None)
        if seconds is None:
            return
        if cut.curve is not None:
            cut.curve.observe(cut.cells, seconds, handed_s)
        if len(self._lanes) > 1:  # one lane is one tenant
            expected = sum([item.cost for item in cut.items]) or 1.0
            for item in cut.items:
                item.account.correct(item.cost, item.cost * seconds / expected)

    def next_ripe(self) -> float | None:
        """When a patient model's next batch is to be cut, for an instance that stays idle until then."""
        return self._turns.next_ripe() if self._size else None

    def _judged(self, lane: Lane[T], item: T, coming: int = 0) -> Refusal | None:
        level, curve = lane.level, lane.curve
        if level.waiting >= level.policy.max_queue:
            return Refusal(full=True, retry_after_s=1.0)
        due = item.start_by if item.deadline is None else min(item.start_by, item.deadline)
        item.due = due
        item.cost = curve.unit_s * item.rows * item.length
        coming_s = coming * item.cost
        # Whatever waits and runs is done by then: the usual request need not be looked at closely.
        calm = 3 * self._forecast.factor * (self._backlog + coming_s + curve.full_s)
        if curve.known and due - item.arrived < calm:
            late = self._too_late(lane, item, coming_s)
            if late > 0:
                return Refusal(full=False, retry_after_s=late)
        return None

    def _insert(self, lane: Lane[T], item: T) -> None:
        level, account = lane.level, lane.account
        item.lane, item.account = lane, account
        if not account.live:
            level.activate(account)
        account.live += 1
        account.backlog += item.cost
        level.live += 1
        lane.group.rows += item.rows
        self._size += 1
        self._backlog += item.cost
        if self._several:
            level.arrivals.add(item)
        if not self.policy.eager:
            lane.group.arrivals.add(item)
        lane.add(item)

    def _leave(self, lane: Lane[T], item: T) -> None:
        lane.out(item)
        self._left(lane, 1, item.rows, item.cost)

    def _left(self, lane: Lane[T], count: int, rows: int, cost: float) -> None:
        level, account = lane.level, lane.account
        account.live -= count
        account.backlog -= cost
        if not account.live:
            level.deactivate(account)
        level.live -= count
        lane.group.rows -= rows
        self._size -= count
        self._backlog = self._backlog - cost if self._size else 0.0

    def _lost(self, item: T, now: float) -> bool:
        # The last one that waits is tried all the same: a model that became quicker is found out so.
        if self._size < 2:
            return False
        lane = item.lane
        return hopeless(item, lane.curve, now, lane.group.rows)

    def _late(self, item: T, now: float, late: list[T]) -> None:
        level = item.lane.level
        self._forecast.missed(item.expected, now - item.arrived)
        self._leave(item.lane, item)
        delayed = level.delayed
        ended = item.start_by > now or (item.deadline is not None and item.deadline <= now)
        if delayed is None or not item.delays or ended:
            late.append(item)
            return
        item.delays = False
        item.due = inf if item.deadline is None else item.deadline
        key = (delayed.rank, item.tenant, item.bucket, item.length_class)
        self._insert(self._lanes.get(key) or self._places.open(item, delayed), item)

    def _too_late(self, lane: Lane[T], item: T, coming_s: float) -> float:
        """By how much the request would miss its time if it waited; nothing of this holds for an idle model."""
        idle = len(self._running) < self._instances
        if idle and not self._size:
            return 0.0
        ahead = lane.level.ahead(lane, item, coming_s)
        if self._several:
            ahead += sum(level.backlog for level in self.levels if level.rank < lane.level.rank)
        soonest = 0.0 if idle else max(0.0, min(self._running.values()) - item.arrived)
        item.expected = ahead / self._instances + soonest
        wait = item.expected * self._forecast.factor
        return lateness(item, lane.curve, wait, ahead, self.policy.max_batch_size)

    def _cut(self, leader: T, now: float, why: str, late: list[T]) -> Cut[T]:
        lane: Lane[T] = leader.lane
        policy, curve, waiting = self.policy, lane.curve, lane.group.rows
        lane.out(leader)
        self._served(lane, 1, leader.rows, leader.cost)
        self._forecast.served(leader.expected, now - leader.arrived)
        if waiting == leader.rows:
            cells = leader.rows * leader.length
            full = leader.rows >= policy.max_batch_size
            return Cut(
                [leader], leader.rows, "full" if full else why, "all", cells, 0, curve.predict(cells), curve
            )
        size = size_for(waiting, policy.max_batch_size, policy.preferred, curve, leader.length)
        filling: Filling[T] = Filling(size, policy.padding, curve, now, leader.length)
        filling.add(leader)
        bound = self._fill(filling, lane, leader, now, late)
        return filling.cut(why, bound or "all")

    def _fill(self, filling: Filling[T], lane: Lane[T], leader: T, now: float, late: list[T]) -> str:
        """Fills the batch from the leader's level, then from the others; why it ended."""
        padding, first, place = "", lane.level, leader.length_class
        for level in [first, *(one for one in self.levels if one is not first)] if self._several else [first]:
            shelves = level.shelves.get(leader.bucket, {}).values()  # delaying somebody may forget some
            for shelf in sorted(shelves, key=lambda one: one.distance(place)):
                bound = self._draw(shelf, filling, now, late)
                if bound == "padding":
                    padding = bound
                elif bound:
                    return bound
        return padding

    def _draw(self, shelf: Shelf[T], filling: Filling[T], now: float, late: list[T]) -> str:
        """Takes from a shelf's tenants by turns until the batch is full or the shelf empty; why it ended."""
        bound = ""
        while not bound and (lane := shelf.first()) is not None:
            bound = self._turn(lane, shelf.runner_up(), filling, now, late)
        return bound

    def _turn(self, lane: Lane[T], ends: float, filling: Filling[T], now: float, late: list[T]) -> str:
        """Takes from one tenant until its account passes `ends`; why no more fits, where no more does.

        What it is charged, and the queue's counts, are told once: a turn is most often a whole batch.
        """
        account, curve = lane.account, lane.curve
        credit, calm, bound = ends - account.tag, now + curve.full_s, ""
        taken = rows = 0
        cost = 0.0
        while cost <= credit * account.weight and (item := lane.head()) is not None:
            deadline = item.deadline
            if item.due <= now or (deadline is not None and deadline < calm and self._lost(item, now)):
                self._late(item, now, late)
                continue
            bound = filling.offer(item)
            if bound:
                break
            lane.out(item)
            taken += 1
            rows += item.rows
            cost += item.cost
        if taken:
            self._served(lane, taken, rows, cost)
        return bound

    def _served(self, lane: Lane[T], count: int, rows: int, cost: float) -> None:
        level, account = lane.level, lane.account
        if account.tag > level.virtual:
            level.virtual = account.tag
        account.charge(cost)
        self._left(lane, count, rows, cost)
