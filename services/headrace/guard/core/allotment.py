"""One tenant at the guard: its bucket, its slots, and who holds how much of them.

What a holder was granted has left the bucket; until it is known to be spent it
counts against the burst, so that the bucket and all holders together can never
spend more than one burst and what the rate adds.
"""

from dataclasses import dataclass

from headrace.guard.core.bucket import TokenBucket
from headrace.guard.core.frames import Grant, Outstanding, Revoke, Settle, Want
from headrace.guard.core.limits import Limits, Mode
from headrace.guard.core.sharing import max_min

STANDS_S = 0.25
"""A Want stands so long; a holder that still wants says so again."""
DEFER_S = 0.01
"""So long a Want for slots waits for those that were asked back from others."""
LEAST_DENIAL_S = 0.01


@dataclass(slots=True)
class Share:
    """What one holder has, and what it wants."""

    tokens: int = 0
    slots: int = 0
    used: int = 0
    tokens_wanted: int = 0
    slots_wanted: int = 0
    waiting: int = 0
    sequence: int = 0
    """Of the Want that has not been answered; 0 when there is none."""
    until: float = 0.0
    deferred: float = 0.0
    """Until when the answer to a Want for slots waits for those that others were asked for."""

    @property
    def lack(self) -> int:
        """Slots that callers wait for."""
        return min(self.waiting, self.slots_wanted)

    @property
    def wants(self) -> bool:
        """Whether there is something to grant or to answer."""
        return bool(self.tokens_wanted or self.slots_wanted or self.sequence)


@dataclass(slots=True)
class Awards:
    """What a round decided, for each holder."""

    grants: list[tuple[str, Grant]]
    revokes: list[tuple[str, Revoke]]


class Allotment:
    """A tenant's limits, shared out."""

    def __init__(self, tenant: str, limits: Limits, now: float) -> None:
        self.tenant = tenant
        self.limits = limits
        self.shares: dict[str, Share] = {}
        self._bucket = TokenBucket(limits.rate, limits.burst, now)

    def available(self, now: float) -> int:
        """Requests that could be admitted now."""
        return max(0, int(self._bucket.level(now))) + self._bucket.held

    @property
    def slots(self) -> int:
        """Slots that holders have."""
        return sum(share.slots for share in self.shares.values())

    @property
    def standing(self) -> bool:
        """Whether anybody waits to be granted something."""
        return any(share.wants for share in self.shares.values())

    def idle(self, now: float) -> bool:
        """Whether it is as a new one: it need not be remembered."""
        return not self.shares and self._bucket.level(now) >= self._bucket.burst

    def want(self, holder: str, want: Want, now: float) -> None:
        """Replaces what the holder wanted before."""
        share = self._share(holder)
        share.tokens_wanted, share.slots_wanted, share.waiting = want.tokens, want.slots, want.waiting
        share.sequence, share.until, share.deferred = want.sequence, now + STANDS_S, 0.0

    def settle(self, holder: str, settle: Settle, now: float) -> None:
        """Takes a report, and what is given back."""
        share = self._share(holder)
        self._used(share, settle.used, now)
        self._give_back(share, settle.tokens, now)
        share.slots -= min(settle.slots, share.slots)
        if settle.done:
            self.drop(holder, now)

    def register(self, holder: str, held: Outstanding, now: float) -> None:
        """A holder says what it has: more than we know if we were restarted, less if a grant was lost."""
        share = self.shares.get(holder)
        if share is None:
            share = self._share(holder)
            self._bucket.take(held.deficit + held.tokens, now)
            self._bucket.hold(held.tokens, now)
            share.used, share.tokens = held.used, held.tokens
        else:
            self._used(share, held.used, now)
            self._give_back(share, share.tokens - held.tokens, now)
            self._bucket.hold(held.tokens - share.tokens, now)
            share.tokens = held.tokens
        share.slots = held.slots
        share.tokens_wanted = share.slots_wanted = share.sequence = 0

    def drop(self, holder: str, now: float) -> None:
        """Forgets a holder. Tokens that it did not settle count as spent."""
        share = self.shares.pop(holder, None)
        if share is not None:
            self._bucket.hold(-share.tokens, now)

    def resize(self, limits: Limits, now: float) -> None:
        """Goes on under other limits."""
        self.limits = limits
        self._bucket.resize(limits.rate, limits.burst, now)

    def round(self, mode: Mode, reserve: float, now: float) -> Awards:
        """Shares out what there is among all who want. `reserve` is the part of the limits that is kept."""
        self._outdate(now)
        holders = [holder for holder, share in self.shares.items() if share.wants]
        shares = [self.shares[holder] for holder in holders]
        leased = mode is Mode.LEASED
        level = int(self._bucket.level(now) - reserve * self.limits.burst)
        tokens = _shared(level, [(min(s.waiting, s.tokens_wanted), s.tokens_wanted) for s in shares], leased)
        free = int(self.limits.concurrency * (1 - reserve)) - self.slots
        slots = _shared(free, [(s.lack, s.slots_wanted) for s in shares], leased)
        short = [i for i, s in enumerate(shares) if slots[i] < s.lack]
        awards = Awards([], self._ask_back(now) if short and leased else [])
        for i, holder in enumerate(holders):
            if i in short and now < shares[i].deferred:
                continue
            grant = self._grant(shares[i], tokens[i], slots[i], mode, now)
            if grant is not None:
                awards.grants.append((holder, grant))
        return awards

    def _grant(self, share: Share, tokens: int, slots: int, mode: Mode, now: float) -> Grant | None:
        short = tokens < min(share.waiting, share.tokens_wanted) or slots < share.lack
        self._bucket.take(tokens, now)
        self._bucket.hold(tokens, now)
        share.tokens += tokens
        share.slots += slots
        sequence, share.sequence = share.sequence, 0
        share.tokens_wanted -= tokens
        share.slots_wanted = 0
        share.waiting = max(0, share.waiting - tokens)
        if mode is Mode.SYNC and not self.limits.wait_s:
            share.tokens_wanted = share.waiting = 0
        if not (sequence or tokens or slots):
            return None
        retry_s = self._retry_s(now) if short else 0.0
        return Grant(
            self.tenant,
            tokens=tokens,
            slots=slots,
            mode=None if short else mode,
            retry_s=retry_s,
            limits=self.limits,
            sequence=sequence,
        )

    def _retry_s(self, now: float) -> float:
        """Until there is a token again, and not so soon that refused requests ask for each of them."""
        least = min(LEAST_DENIAL_S, self.limits.burst / self.limits.rate / 2)
        return max(self._bucket.wait_s(1.0, now), least)

    def _ask_back(self, now: float) -> list[tuple[str, Revoke]]:
        """Asks others for slots, once for each Want that finds too few; its answer waits for theirs.

        Of each its idle ones, however many it has, and of those in use what is
        above its fair share.
        """
        lacking = {
            holder: share.lack
            for holder, share in self.shares.items()
            if share.sequence and not share.deferred
        }
        if not lacking:
            return []
        fair = max_min(self.limits.concurrency, [share.slots + share.lack for share in self.shares.values()])
        revokes = []
        for (holder, share), target in zip(self.shares.items(), fair, strict=True):
            idle = min(share.slots, sum(lacking.values()) - lacking.get(holder, 0))
            if idle > 0:
                revokes.append((holder, Revoke(self.tenant, idle, max(0, share.slots - target))))
        for holder in lacking if revokes else ():
            self.shares[holder].deferred = now + DEFER_S
        return revokes

    def _outdate(self, now: float) -> None:
        for share in self.shares.values():
            if now >= share.until:
                share.tokens_wanted = share.slots_wanted = share.waiting = 0

    def _used(self, share: Share, used: int, now: float) -> None:
        """Those that were never granted were admitted by the holder alone: they are owed."""
        spent, share.used = used - share.used, used
        granted = min(spent, share.tokens)
        self._bucket.hold(-granted, now)
        share.tokens -= granted
        if spent > granted:
            self._bucket.take(spent - granted, now)

    def _give_back(self, share: Share, tokens: int, now: float) -> None:
        tokens = max(0, min(tokens, share.tokens))
        share.tokens -= tokens
        self._bucket.hold(-tokens, now)
        self._bucket.put_back(tokens, now)

    def _share(self, holder: str) -> Share:
        share = self.shares.get(holder)
        if share is None:
            share = self.shares[holder] = Share()
        return share


def _shared(available: int, wants: list[tuple[int, int]], leased: bool) -> list[int]:  # noqa: FBT001  # private
    """First what callers wait for; of the rest, half at the most is given away ahead of time."""
    first = max_min(available, [waiting for waiting, _ in wants])
    if not leased:
        return first
    rest = (available - sum(first)) // 2
    ahead = max_min(rest, [wanted - waiting for waiting, wanted in wants])
    return [now + later for now, later in zip(first, ahead, strict=True)]
