"""All tenants and all holders: what a frame of a holder changes, and what is granted then."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.guard.core.allotment import Allotment
from headrace.guard.core.frames import GuardFrame, Hello, Settle, Want
from headrace.guard.core.limits import LimitBook, mode_of


@dataclass(slots=True)
class Known:
    """A holder: its process, and the tenants that it has shares of."""

    incarnation: str
    ends: float | None = None
    """When it is forgotten; None while its stream is open."""
    tenants: set[str] = field(default_factory=set)


class Leases:
    """Who holds what.

    `expected` are holders of this guard's predecessor. Until each of them has
    come back, or has had two times to live for it, its part of every limit is
    kept: it may be spending it.
    """

    def __init__(self, limits: LimitBook, ttl_s: float, now: float, expected: Iterable[str] = ()) -> None:
        self.limits = limits
        self.ttl_s = ttl_s
        self.holders: dict[str, Known] = {}
        self.tenants: dict[str, Allotment] = {}
        self._expected = set(expected)
        self._expected_until = now + 2 * ttl_s
        self._parts = len(self._expected)
        self._dirty: set[str] = set()

    @property
    def count(self) -> int:
        """How many share the limits; 1 when nobody does."""
        return max(1, len(self.holders) + len(self._expected))

    def join(self, hello: Hello, now: float) -> None:
        """A holder opened a stream: what it says it has is what it has."""
        self._expected.discard(hello.holder)
        known = self.holders.get(hello.holder)
        if known is not None and known.incarnation != hello.incarnation:
            self.forget(hello.holder, now)
            known = None
        if known is None:
            known = self.holders[hello.holder] = Known(hello.incarnation)
        known.ends = None
        for tenant in known.tenants - {held.tenant for held in hello.outstanding}:
            self._allotment(tenant, now).drop(hello.holder, now)
        known.tenants = {held.tenant for held in hello.outstanding}
        for held in hello.outstanding:
            self._allotment(held.tenant, now).register(hello.holder, held, now)

    def leave(self, holder: str, now: float) -> None:
        """The holder's stream ended. It may go on with what it has until that expires."""
        known = self.holders.get(holder)
        if known is None:
            return
        if not known.tenants:
            self.forget(holder, now)
        else:
            known.ends = now + self.ttl_s

    def forget(self, holder: str, now: float) -> None:
        """The holder has nothing any more."""
        known = self.holders.pop(holder, None)
        for tenant in known.tenants if known else ():
            self._allotment(tenant, now).drop(holder, now)
            self._dirty.add(tenant)

    def settle(self, holder: str, settles: Iterable[Settle], now: float) -> None:
        """Takes the holder's reports."""
        known = self.holders[holder]
        for settle in settles:
            self._allotment(settle.tenant, now).settle(holder, settle, now)
            known.tenants.add(settle.tenant)
            if settle.done:
                known.tenants.discard(settle.tenant)
            if settle.slots or settle.tokens:
                self._dirty.add(settle.tenant)

    def want(self, holder: str, wants: Iterable[Want], now: float) -> None:
        """Takes the holder's wishes for tenants."""
        known = self.holders[holder]
        for want in wants:
            known.tenants.add(want.tenant)
            self._allotment(want.tenant, now).want(holder, want, now)
            self._dirty.add(want.tenant)

    def rounds(self, now: float, *, standing: bool = False) -> dict[str, GuardFrame]:
        """Grants what can be granted: where something changed, or to all whose wants stand."""
        tenants = set(self._dirty)
        self._dirty = set()
        if standing:
            tenants.update(name for name, allotment in self.tenants.items() if allotment.standing)
        frames: dict[str, GuardFrame] = {}
        reserve = len(self._expected) / self._parts if self._parts else 0.0
        for tenant in tenants & self.tenants.keys():
            allotment = self.tenants[tenant]
            awards = allotment.round(mode_of(allotment.limits, self.count, self.ttl_s), reserve, now)
            for holder, grant in awards.grants:
                frames.setdefault(holder, GuardFrame()).grants.append(grant)
            for holder, revoke in awards.revokes:
                frames.setdefault(holder, GuardFrame()).revokes.append(revoke)
        return frames

    @property
    def standing(self) -> bool:
        """Whether anybody waits to be granted something."""
        return any(allotment.standing for allotment in self.tenants.values())

    def expire(self, now: float) -> list[str]:
        """Forgets holders whose leases are over, and tenants that nobody uses; returns those holders."""
        if now >= self._expected_until:
            self._expected.clear()
        gone = [name for name, known in self.holders.items() if known.ends is not None and now >= known.ends]
        for holder in gone:
            self.forget(holder, now)
        for tenant in [name for name, allotment in self.tenants.items() if allotment.idle(now)]:
            del self.tenants[tenant]
        return gone

    def _allotment(self, tenant: str, now: float) -> Allotment:
        allotment = self.tenants.get(tenant)
        if allotment is None:
            allotment = self.tenants[tenant] = Allotment(tenant, self.limits.of(tenant), now)
        return allotment
