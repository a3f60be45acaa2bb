"""One priority level: its tenants, its lanes, its oldest request."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from math import inf
from typing import Generic, TypeVar

from headrace.inference.core.arrivals import Arrivals
from headrace.inference.core.lanes import Account, Item, Lane, Shelf
from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from headrace.inference.core.windows import Group

ACCOUNTS_KEPT = 1024
"""Tenants without waiting requests whose accounts are remembered, for what they still owe."""

T = TypeVar("T", bound=Item)


@dataclass(frozen=True, slots=True)
class Depth:
    """How much of a tenant waits in a level; a rank between two numbers is that of a level's delayed requests."""

    rank: float
    tenant: str
    requests: int
    cost_s: float
    weight: float


class Level(Generic[T]):
    """The requests of one priority. `rank` orders levels; a level's delayed requests are a level of their own."""

    __slots__ = (
        "_accounts",
        "_heap",
        "_opened",
        "arrivals",
        "delayed",
        "live",
        "policy",
        "rank",
        "shelves",
        "virtual",
        "weight",
    )

    def __init__(self, rank: float, policy: QueuePolicy) -> None:
        self.rank = rank
        self.policy = policy
        self.live = 0
        self.weight = 0.0
        """The weights of the tenants that wait here."""
        self.virtual = 0.0
        """The account of the tenant that was served last: who comes new has no claim to earlier time."""
        self.delayed: Level[T] | None = None
        self.arrivals: Arrivals[T] = Arrivals(self)
        self.shelves: dict[Hashable, dict[int, Shelf[T]]] = {}
        self._opened = 0
        self._accounts: dict[str, Account[T]] = {}
        self._heap: list[tuple[float, int, Account[T]]] = []

    @property
    def holds_delayed(self) -> bool:
        """Whether this is a level of delayed requests."""
        return not self.rank.is_integer()

    @property
    def waiting(self) -> int:
        """What `max_queue` bounds: the delayed ones wait too."""
        return self.live if self.delayed is None else self.live + self.delayed.live

    @property
    def remembered(self) -> int:
        """The tenants whose accounts are kept."""
        return len(self._accounts)

    def accounts(self) -> Iterator[Account[T]]:
        """The tenants that wait here."""
        return (account for account in self._accounts.values() if account.live)

    def depths(self) -> list[Depth]:
        """Who waits here, who has most first."""
        found = [Depth(self.rank, one.tenant, one.live, one.backlog, one.weight) for one in self.accounts()]
        return sorted(found, key=lambda depth: -depth.requests)

    def account(self, tenant: str) -> Account[T] | None:
        """A tenant's account, if it is remembered."""
        return self._accounts.get(tenant)

    def lane(self, item: T, weight: float, group: Group[T]) -> Lane[T]:
        """A new lane for requests like `item`."""
        account = self._accounts.get(item.tenant)
        if account is None:
            self._opened += 1  # of equal accounts the one that was opened first is served first
            account = self._accounts[item.tenant] = Account(item.tenant, weight, self._opened)
        shelves = self.shelves.setdefault(item.bucket, {})
        shelf = shelves.get(item.length_class)
        if shelf is None:
            shelf = shelves[item.length_class] = Shelf(item.length_class)
        return Lane(self, account, shelf, group)

    def activate(self, account: Account[T]) -> None:
        """Lets a tenant wait that had nothing to wait for: it has no claim to the time before."""
        account.tag = max(account.tag, self.virtual)
        self.weight += account.weight
        if not account.listed:
            account.listed = True
            heappush(self._heap, (account.tag, account.number, account))

    def deactivate(self, account: Account[T]) -> None:
        """A tenant has nothing more to wait for."""
        account.rest()
        self.weight -= account.weight

    @property
    def backlog(self) -> float:
        """Seconds of work that wait."""
        return sum(account.backlog for account in self._accounts.values())

    def ahead(self, lane: Lane[T], item: T, coming_s: float = 0.0) -> float:
        """Seconds of this level's work that are served before `item` would be; of its tenant `coming_s` more are to come."""
        account = lane.account
        if not account.live and not coming_s:
            return 0.0
        own, weight = account.backlog, self.weight
        head = lane.head()
        last = lane.last_due()
        if head is not None and item.due < last:  # it goes before some of its own tenant's requests
            if item.due <= head.due:
                own = 0.0
            elif last < inf:
                own *= (item.due - head.due) / (last - head.due)
        if coming_s:
            own += coming_s
            weight = weight if account.live else weight + account.weight
        # Others are served meanwhile as their weights have it, until they have nothing left.
        return min(self.backlog + coming_s, own * weight / account.weight)

    def first(self) -> Account[T] | None:
        """The tenant that is served next."""
        heap = self._heap
        while heap:
            tag, number, account = heap[0]
            if not account.live:
                heappop(heap)
                account.listed = False
            elif tag != account.tag:
                heapreplace(heap, (account.tag, number, account))
            else:
                return account
        return None

    def tidy(self) -> None:
        """Forgets where and who nobody waits; tenants that owe for earlier work are remembered, within a bound."""
        for bucket, shelves in list(self.shelves.items()):
            for place in [place for place, shelf in shelves.items() if shelf.first() is None]:
                del shelves[place]
            if not shelves:
                del self.shelves[bucket]
        idle = sorted(
            (account for account in self._accounts.values() if not account.live), key=lambda one: one.tag
        )
        for place, account in enumerate(idle):
            if account.tag <= self.virtual or place < len(idle) - ACCOUNTS_KEPT:
                del self._accounts[account.tenant]


def levels_of(policy: BatchPolicy) -> list[Level[T]]:
    """The levels of a policy, the highest first; behind each that delays, that of its delayed requests."""
    levels: list[Level[T]] = []
    for rank, one in enumerate(policy.queues(), 1):
        level: Level[T] = Level(float(rank), one)
        levels.append(level)
        if one.action is TimeoutAction.DELAY:
            level.delayed = Level(rank + 0.5, one)
            levels.append(level.delayed)
    return levels
