"""A guard and its holders without wire, loop or clock: frames travel when the test says so."""

import math
from collections import deque

from headrace.guard.core.book import LeaseBook
from headrace.guard.core.frames import GuardFrame, HolderFrame, Snapshot
from headrace.guard.core.leases import Leases
from headrace.guard.core.limits import LimitBook, Limits
from headrace.guard.core.permit import Waiter
from headrace.runtime.errors import HeadraceError

TENANT = "acme"


class SimulatedHolder:
    """One process: its book, the frames under way, and what its requests came to."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.book = LeaseBook(LimitBook(limits))
        self.up: deque[HolderFrame] = deque()
        self.down: deque[GuardFrame] = deque()
        self.in_flight = 0
        self.refused = 0
        self.waiting: list[Waiter] = []

    def request(self, now: float) -> int:
        """A request comes; 1 when it was admitted at once."""
        holding = self.book.holding(TENANT, now)
        try:
            alone = self.book.alone
            admitted = holding.enter_alone(now, self.book.holders) if alone else holding.enter(now)
        except HeadraceError:
            self.refused += 1
            return 0
        if not admitted:
            waiter = Waiter(now, math.inf, lambda: None)
            self.waiting.append(waiter)
            holding.waiters.append(waiter)
            self.book.ask_for(holding)
        self.in_flight += admitted
        return int(admitted)

    def end(self) -> None:
        """A request ends, if one is in flight."""
        if self.in_flight:
            self.in_flight -= 1
            holding = self.book.holdings[TENANT]
            holding.in_flight -= 1
            if holding.eager:
                holding.left()
                self.book.note(holding)

    def decided(self) -> int:
        """How many of those who waited were admitted since the last time."""
        admitted = sum(waiter.admitted for waiter in self.waiting)
        self.refused += sum(waiter.refused is not None for waiter in self.waiting)
        self.waiting = [waiter for waiter in self.waiting if not waiter.decided]
        self.in_flight += admitted
        return admitted


class Simulation:
    """One tenant, a guard, and holders; `admitted` has the time of each admission."""

    def __init__(self, limits: Limits, holders: int, ttl_s: float = 1.0) -> None:
        self.now = 0.0
        self.limits = limits
        self.admitted: list[float] = []
        self.holders = [SimulatedHolder(f"r{number}", limits) for number in range(holders)]
        self._ttl_s = ttl_s
        self.guard = self._new_guard(())
        for holder in self.holders:
            self.connect(holder)

    def connect(self, holder: SimulatedHolder) -> None:
        """A new stream: what was under way on the old one is lost."""
        holder.up.clear()
        holder.down.clear()
        hello = holder.book.hello(holder.name, "1", self.now).hello
        assert hello is not None
        self.guard.join(hello, self.now)
        holder.book.take(GuardFrame(snapshot=Snapshot(ttl_s=self._ttl_s)), self.now)
        for each in self.holders:
            each.book.take(GuardFrame(snapshot=Snapshot(holders=self.guard.count)), self.now)

    def restart(self) -> None:
        """The guard is killed; a new one begins, which knows its predecessor's holders by name."""
        self.guard = self._new_guard([holder.name for holder in self.holders])
        for holder in self.holders:
            holder.up.clear()
            holder.down.clear()
            holder.book.lose(self.now)
            self._count(holder)

    def pass_by(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds

    def request(self, holder: SimulatedHolder) -> None:
        """A request comes to the holder."""
        self.admitted += [self.now] * holder.request(self.now)

    def tick(self, holder: SimulatedHolder) -> None:
        """The holder measures its pace."""
        holder.book.tick(self.now)
        self._count(holder)

    def send(self, holder: SimulatedHolder) -> None:
        """What the holder has to say sets out."""
        if not holder.book.alone and (frame := holder.book.outgoing()) is not None:
            holder.up.append(frame)

    def arrive_up(self, holder: SimulatedHolder) -> None:
        """The holder's oldest frame reaches the guard."""
        if holder.up and holder.name in self.guard.holders:
            frame = holder.up.popleft()
            self.guard.settle(holder.name, frame.settles, self.now)
            self.guard.want(holder.name, frame.wants, self.now)
            self.round()

    def round(self, *, standing: bool = False) -> None:
        """The guard grants what it can."""
        for name, frame in self.guard.rounds(self.now, standing=standing).items():
            next(holder for holder in self.holders if holder.name == name).down.append(frame)

    def arrive_down(self, holder: SimulatedHolder) -> None:
        """The guard's oldest frame reaches the holder."""
        if holder.down:
            holder.book.take(holder.down.popleft(), self.now)
            self._count(holder)

    def settle(self, rounds: int = 6) -> None:
        """All that is under way arrives."""
        for _ in range(rounds):
            for holder in self.holders:
                self.send(holder)
                while holder.up:
                    self.arrive_up(holder)
            for holder in self.holders:
                while holder.down:
                    self.arrive_down(holder)

    @property
    def in_flight(self) -> int:
        """Requests in flight over all holders."""
        return sum(holder.in_flight for holder in self.holders)

    def excess(self) -> float:
        """By how many requests any window saw more than a burst and what the rate adds; 0 when none did."""
        worst = 0.0
        for first, start in enumerate(self.admitted):
            for last in range(first, len(self.admitted)):
                allowed = self.limits.burst + self.limits.rate * (self.admitted[last] - start)
                worst = max(worst, last - first + 1 - allowed)
        return worst

    def _count(self, holder: SimulatedHolder) -> None:
        self.admitted += [self.now] * holder.decided()

    def _new_guard(self, expected: list[str] | tuple[str, ...]) -> Leases:
        return Leases(LimitBook(self.limits), self._ttl_s, self.now, expected)
