"""Who waits behind whom inside a level: tenants by what they have had, their requests by their deadlines.

Each tenant has an account of virtual time: what its requests cost, divided by its
weight. The tenant whose account is furthest behind is served next, which is
deficit round robin at the grain of a request: over time each tenant that waits
has its weight's share of the model, whatever the size of its requests. Heaps
hold stale entries, which are corrected when they come up.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import KW_ONLY, dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from headrace.inference.core.levels import Level
    from headrace.inference.core.windows import Group

DEAD_ALLOWED = 64
"""Entries of requests that left early, kept in a heap before it is built anew."""


@dataclass(slots=True, eq=False)
class Item:
    """One request that waits: `rows` of shape `bucket`, each `length` long where lengths may differ.

    It has to be finished by `deadline` and begun by `start_by`; one that
    `delays` is put back when `start_by` has passed, any other is too late.
    `level` counts from 1, the highest.
    """

    rows: int
    bucket: Hashable
    arrived: float
    deadline: float | None
    _: KW_ONLY
    tenant: str = ""
    level: int = 1
    length: int = 1
    length_class: int = 0
    start_by: float = inf
    delays: bool = False
    due: float = field(init=False, default=inf)
    """When it leaves unserved."""
    cost: float = field(init=False, default=0.0)
    """Seconds of the model that it is taken to cost."""
    expected: float = field(init=False, default=0.0)
    """Seconds that it was predicted to wait; 0 for one that nobody had to ask about."""
    number: int = field(init=False, default=0)
    lane: Any = field(init=False, default=None)
    """Where it waits; None when it does not."""
    account: Any = field(init=False, default=None)


T = TypeVar("T", bound=Item)


class Account(Generic[T]):
    """One tenant in one level. `tag` is its virtual time, which only grows."""

    __slots__ = (
        "_credit",
        "_lanes",
        "_limit",
        "backlog",
        "listed",
        "live",
        "number",
        "tag",
        "tenant",
        "weight",
    )

    def __init__(self, tenant: str, weight: float, number: int) -> None:
        self.tenant = tenant
        self.weight = weight
        self.number = number
        self.tag = 0.0
        self.live = 0
        self.backlog = 0.0
        """Seconds of work that wait."""
        self.listed = False
        self._credit = 0.0
        self._lanes: list[tuple[float, int, Lane[T]]] = []
        self._limit = DEAD_ALLOWED

    def charge(self, cost: float) -> None:
        """Lets the tenant pay for a request that is executed."""
        owed = cost - self._credit
        if owed < 0:
            self._credit, owed = -owed, 0.0
        else:
            self._credit = 0.0
        self.tag += owed / self.weight

    def correct(self, predicted: float, measured: float) -> None:
        """What a request really cost: the difference is paid, or spared with the next ones."""
        if measured > predicted:
            self.tag += (measured - predicted) / self.weight
        else:
            self._credit = min(self._credit + predicted - measured, 8 * predicted)

    def rank(self, lane: "Lane[T]", item: T) -> None:
        """Tells that `item` is its lane's first now."""
        heap = self._lanes
        lane.ranked = item.number
        heappush(heap, (item.due, item.number, lane))
        if len(heap) > self._limit:
            alive = {id(each): each for _, _, each in heap if each.head() is not None}
            firsts = [(each.head(), each) for each in alive.values()]
            heap[:] = [(first.due, first.number, each) for first, each in firsts if first is not None]
            heapify(heap)
            self._limit = 2 * len(heap) + DEAD_ALLOWED

    def rest(self) -> None:
        """Tells that nothing of the tenant waits any more."""
        self.backlog = 0.0
        self._lanes.clear()

    def first(self) -> "Lane[T] | None":
        """The lane of the request that is due first."""
        heap = self._lanes
        while heap:
            _, number, lane = heap[0]
            head = lane.head()
            if head is None:
                heappop(heap)
            elif head.number == number:
                return lane
            elif head.number == lane.ranked:
                heappop(heap)
            else:
                lane.ranked = head.number
                heapreplace(heap, (head.due, head.number, lane))
        return None


class Lane(Generic[T]):
    """One tenant's requests of one level, shape and length class; the one that is due first comes first.

    Deadlines mostly come in their order, and then a deque holds them; only those that are due
    before one that came earlier are in a heap. Requests that left are dropped when they come up.
    """

    __slots__ = (
        "_early",
        "_gone",
        "_ordered",
        "account",
        "curve",
        "group",
        "level",
        "listed",
        "ranked",
        "shelf",
    )

    def __init__(self, level: "Level[T]", account: Account[T], shelf: "Shelf[T]", group: "Group[T]") -> None:
        self.level = level
        self.account = account
        self.shelf = shelf
        self.group = group
        self.curve = group.curve
        self.listed = False
        self.ranked = 0
        self._gone = 0
        self._ordered: deque[T] = deque()
        self._early: list[tuple[float, int, T]] = []

    def __lt__(self, other: "Lane[T]") -> bool:
        return False  # two entries of a heap for the same request are equal

    def add(self, item: T) -> None:
        """Lets `item` wait here."""
        ordered = self._ordered
        if ordered and item.due >= ordered[-1].due and ordered[0].lane is self:
            ordered.append(item)  # behind somebody: nothing changes at the front
            return
        head = self.head()
        if not ordered or item.due >= ordered[-1].due:
            ordered.append(item)
        else:
            heappush(self._early, (item.due, item.number, item))
        if head is None or item.due < head.due:
            self.account.rank(self, item)
            if not self.listed:
                self.shelf.list(self)

    def head(self) -> T | None:
        """The request that is due first."""
        ordered, early = self._ordered, self._early
        while ordered:
            first = ordered[0]
            if first.lane is self:
                if not early:
                    return first
                break
            ordered.popleft()
        while early and early[0][2].lane is not self:
            heappop(early)
        if not early:
            return ordered[0] if ordered else None
        return ordered[0] if ordered and ordered[0].due <= early[0][0] else early[0][2]

    def out(self, item: T) -> None:
        """Lets `item` go; from the front at once, so that nothing of it stays."""
        item.lane = None
        ordered, early = self._ordered, self._early
        if ordered and ordered[0] is item:
            ordered.popleft()
        elif early and early[0][2] is item:
            heappop(early)
        else:
            self._gone += 1
            if self._gone > DEAD_ALLOWED and 2 * self._gone > len(ordered) + len(early):
                self._ordered = deque(one for one in ordered if one.lane is self)
                self._early = [entry for entry in early if entry[2].lane is self]
                heapify(self._early)
                self._gone = 0

    def last_due(self) -> float:
        """When the last one is due, about."""
        return self._ordered[-1].due if self._ordered else inf

    def items(self) -> list[T]:
        """All that wait, in no order."""
        found = [item for item in self._ordered if item.lane is self]
        return found + [item for _, _, item in self._early if item.lane is self]


class Shelf(Generic[T]):
    """The lanes of one level, shape and length class: one a tenant, the one furthest behind first."""

    __slots__ = ("_heap", "length_class")

    def __init__(self, length_class: int) -> None:
        self.length_class = length_class
        self._heap: list[tuple[float, int, Lane[T]]] = []

    def distance(self, place: int) -> tuple[int, int]:
        """How far its lengths are from a class; of two that are as far the shorter is nearer."""
        return abs(self.length_class - place), self.length_class

    def list(self, lane: Lane[T]) -> None:
        """Lets the lane be served."""
        lane.listed = True
        heappush(self._heap, (lane.account.tag, lane.account.number, lane))

    def first(self) -> Lane[T] | None:
        """The lane of the tenant that is served next."""
        heap = self._heap
        while heap:
            tag, number, lane = heap[0]
            if lane.head() is None:
                heappop(heap)
                lane.listed = False
            elif tag != lane.account.tag:
                heapreplace(heap, (lane.account.tag, number, lane))
            else:
                return lane
        return None

    def runner_up(self) -> float:
        """Up to where the first tenant's account may grow before it is another's turn."""
        heap = self._heap
        if len(heap) < 2:
            return inf
        return heap[1][0] if len(heap) < 3 else min(heap[1][0], heap[2][0])
