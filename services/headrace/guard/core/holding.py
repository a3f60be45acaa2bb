"""What one process may admit of one tenant's requests, and who waits for more.

Tokens and slots are the guard's: granted, spent or given back. What is admitted
without a guard counts as used as well, and is charged when it is back.
"""

from collections import deque

from headrace.guard.core.frames import Grant, Outstanding, Revoke, Settle, Want
from headrace.guard.core.limits import Limits, Mode
from headrace.guard.core.own import OwnShare
from headrace.guard.core.pace import Pace
from headrace.guard.core.permit import Waiter
from headrace.guard.errors import concurrency_limited, rate_limited
from headrace.runtime.errors import HeadraceError

CONCURRENCY_RETRY_S = 0.1
FULL_S = 0.02
"""So long a holder that was refused slots does not ask again."""


class Holding:
    """One tenant at one holder. The public attributes are what the hot path reads."""

    __slots__ = (
        "_back_slots", "_back_tokens", "_deny_until", "_full_until", "_owed", "_own", "_reported",
        "_retry_at", "_seen", "asking", "eager", "in_flight", "limits", "low", "mode", "pace",
        "refusals", "slots", "tenant", "ticked", "tokens", "used", "waiters",
    )  # fmt: skip

    def __init__(self, tenant: str, limits: Limits, holders: int, now: float) -> None:
        self.tenant = tenant
        self.limits = limits
        self.mode = Mode.SYNC
        self.tokens = 0
        self.slots = 0
        self.in_flight = 0
        self.used = 0
        self.low = 0
        self.refusals = self.ticked = 0
        self.eager = True
        self.asking = 0
        self.waiters: deque[Waiter] = deque()
        self._owed = 0
        self._back_tokens = self._back_slots = 0
        self._reported = 0
        self._seen = 0
        self.pace = Pace()
        self._deny_until = 0.0
        self._retry_at = 0.0
        self._full_until = 0.0
        self._own = OwnShare(limits, holders, now)

    def enter(self, now: float) -> bool:
        """Admits a request by what was granted; False when the guard has to be asked.

        Raises the refusal that the guard's last answer still stands for.
        """
        if self.waiters:
            return False
        if self.in_flight >= self.slots:
            if now < self._full_until:
                raise self._too_many()
            return False
        if self.tokens < 1:
            if now < self._deny_until and not self.limits.wait_s:
                raise self._too_fast(self._retry_at - now)
            return False
        self.tokens -= 1
        self._enter()
        return True

    def enter_alone(self, now: float, holders: int) -> bool:
        """Admits a request by this process's own share; False when it has to wait its turn.

        Raises RATE_LIMITED or CONCURRENCY_LIMITED.
        """
        if self.waiters:
            return False
        retry_s = self._try_alone(now, holders)
        if retry_s <= 0.0:
            return True
        if self.limits.wait_s:
            return False
        raise self._too_fast(retry_s)

    def left(self) -> None:
        """A request has ended, in a holding that is `eager` to give its slot back."""
        self._full_until = 0.0
        self._give_slots()

    def undo(self) -> None:
        """A request that was admitted did not begin: its token was not spent."""
        self.used -= 1
        self._back_tokens += 1
        self.in_flight -= 1
        self.left()

    def take(self, grant: Grant, now: float) -> None:
        """Adds what was granted, and decides about those who waited for this answer."""
        self.limits = grant.limits or self.limits
        self.mode = grant.mode or self.mode
        self.tokens += grant.tokens
        self.slots += grant.slots
        if grant.sequence == self.asking:
            self.asking = 0
        if grant.mode is None:
            self._retry_at = now + grant.retry_s
            self._deny_until = now + min(grant.retry_s, 1.0)
        elif grant.tokens:
            self._deny_until = 0.0
        self._serve(now, grant)
        self._tidy()

    def owe(self, revoke: Revoke) -> None:
        """The guard wants slots back."""
        idle = self.slots - self.in_flight - len(self.waiters)
        self._owed = max(0, revoke.busy - max(0, idle - revoke.slots))
        self._return_slots(min(idle, revoke.slots + revoke.busy))

    def serve_alone(self, now: float, holders: int) -> None:
        """Decides about everybody who waits, by this process's own share."""
        while self.waiters:
            waiter = self.waiters[0]
            try:
                wait_s = self._try_alone(now, holders)
            except HeadraceError as refusal:
                waiter.refused, wait_s = refusal, 0.0
            if wait_s > 0.0:
                break
            waiter.admitted = waiter.refused is None
            self.waiters.popleft().wake()
        for waiter in self.waiters:
            waiter.hear()

    def expire(self) -> None:
        """The lease is over: what was granted may not be spent any more."""
        self.tokens = self.slots = self._back_tokens = self._back_slots = self._owed = 0

    def shared_by(self, holders: int, now: float) -> None:
        """So many holders share the limits: what this one may do alone."""
        self._own.charge(self.used, now)
        self._own.resize(self.limits, holders, now)

    def give_up(self, waiter: Waiter, now: float) -> None:
        """The waiter's time is over."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            waiter.refused = self._too_fast(max(self._retry_at - now, 1.0 / self.limits.rate))
            waiter.wake()

    def forget(self, waiter: Waiter) -> None:
        """The waiter has gone: what it was given in that moment goes back."""
        if waiter.admitted:
            self.undo()
        elif waiter in self.waiters:
            self.waiters.remove(waiter)

    def want(self, sequence: int) -> Want:
        """What to ask for now; those who wait get their answer with `sequence`."""
        for waiter in self.waiters:
            waiter.sequence = sequence
        waiting = len(self.waiters)
        self.asking = sequence
        tokens, slots = waiting, self.in_flight + waiting
        if self.mode is Mode.LEASED:
            tokens += self._ahead
            slots = max(slots, self.pace.slots_ahead)
        return Want(
            sequence,
            self.tenant,
            tokens=max(0, tokens - self.tokens),
            slots=max(0, min(slots, self.limits.concurrency) - self.slots),
            waiting=waiting,
        )

    def settle(self, *, done: bool = False) -> Settle | None:
        """What has to be told since the last time; None when there is nothing."""
        if self.used == self._reported and not (self._back_tokens or self._back_slots or done):
            return None
        report = Settle(self.tenant, self.used, self._back_tokens, self._back_slots, done)
        self._reported = self.used
        self._back_tokens = self._back_slots = 0
        return report

    def outstanding(self, now: float) -> Outstanding:
        """What is held, for a guard that may not know it."""
        self._own.charge(self.used, now)
        self._back_tokens = self._back_slots = self._owed = self.asking = 0
        self._reported = self.used
        self.slots = max(self.slots, self.in_flight)
        return Outstanding(self.tenant, self.tokens, self.slots, self.used, self._own.deficit(now))

    def tick(self, now: float) -> bool:
        """Once in a while: measures the pace, gives back what it does not need. Whether to ask for more."""
        self._own.charge(self.used, now)
        self.ticked = self.used - self._seen
        self.pace.measure(self.ticked + self.refusals, self.in_flight)
        self._seen, self.refusals = self.used, 0
        ahead = self._ahead
        self.low = ahead // 2
        if self.tokens > 2 * ahead:
            self._back_tokens += self.tokens - ahead
            self.tokens = ahead
        if not self.asking:
            self._return_slots(self.slots - self.pace.slots_kept)
        return self.mode is Mode.LEASED and not self.asking and self.tokens < self.low

    def idle(self, now: float) -> bool:
        """Whether it may be forgotten: it would be as it is if it began anew."""
        busy = not self.pace.idle or self.in_flight > 0 or len(self.waiters) > 0
        return not busy and self._own.recovered(now)

    @property
    def unheard(self) -> bool:
        """Whether somebody waits who was not answered."""
        return any(not waiter.heard for waiter in self.waiters)

    def close(self) -> None:
        """Gives everything back that no request uses."""
        self._back_tokens += self.tokens
        self.tokens = 0
        self._return_slots(self.slots)

    def _try_alone(self, now: float, holders: int) -> float:
        """Admits, or says how many seconds to wait for the rate; raises CONCURRENCY_LIMITED."""
        if self.in_flight >= max(self.slots, self.limits.concurrency // holders, 1):
            raise self._too_many()
        if self.tokens > 0:
            self.tokens -= 1
        else:
            self._own.charge(self.used, now)
            if (wait_s := self._own.wait_s(now)) > 0.0:
                return wait_s
        self._enter()
        return 0.0

    def _enter(self) -> None:
        self.in_flight += 1
        self.used += 1

    def _serve(self, now: float, grant: Grant) -> None:
        while self.waiters and self.tokens > 0 and self.in_flight < self.slots:
            waiter = self.waiters.popleft()
            self.tokens -= 1
            self._enter()
            waiter.admitted = True
            waiter.wake()
        if grant.mode is None and grant.sequence:
            self._refuse_answered(now, grant.sequence)

    def _refuse_answered(self, now: float, sequence: int) -> None:
        """Those for whom the denied Want spoke; whoever came later is still to be asked for."""
        kept: deque[Waiter] = deque()
        full = self.tokens > 0  # tokens are there, so it is slots that they lack
        for waiter in self.waiters:
            if waiter.sequence != sequence:
                kept.append(waiter)
            elif not full and now < waiter.until(self.limits.wait_s):
                waiter.hear()
                kept.append(waiter)
            else:
                waiter.refused = self._too_many() if full else self._too_fast(self._retry_at - now)
                waiter.wake()
        if full and len(kept) < len(self.waiters):
            self._full_until = now + FULL_S
        self.waiters = kept

    def _tidy(self) -> None:
        self.eager = self.mode is Mode.SYNC or self._owed > 0
        if self.mode is Mode.SYNC and not self.waiters:
            self._back_tokens += self.tokens
            self.tokens = 0
        self._give_slots()

    def _give_slots(self) -> None:
        spare = self.slots - self.in_flight - len(self.waiters)
        if self.mode is Mode.SYNC:
            self._return_slots(spare)
        elif self._owed:
            self._return_slots(min(spare, self._owed))

    def _return_slots(self, count: int) -> None:
        count = min(count, self.slots - self.in_flight)
        if count > 0:
            self.slots -= count
            self._back_slots += count
            self._owed = max(0, self._owed - count)
        self.eager = self.mode is Mode.SYNC or self._owed > 0

    @property
    def _ahead(self) -> int:
        return self.pace.tokens_ahead if self.mode is Mode.LEASED else 0

    def _too_fast(self, retry_s: float) -> HeadraceError:
        self.refusals += 1
        return rate_limited(self.tenant, self.limits, max(retry_s, 0.001))

    def _too_many(self) -> HeadraceError:
        return concurrency_limited(self.tenant, self.limits, CONCURRENCY_RETRY_S)
