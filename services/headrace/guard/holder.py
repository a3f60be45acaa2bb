"""Admits requests in their own process, by what the guard has leased to it.

`admit` and `release` are the hot path: a few additions on objects that are
there. Everything else happens in `ask`, and in the stream's task (`stream.py`).
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from headrace.guard.core.book import LeaseBook
from headrace.guard.core.holding import Holding
from headrace.guard.core.limits import Code
from headrace.guard.core.permit import Permit, Waiter
from headrace.guard.errors import breaker_open
from headrace.runtime.clock import Clock
from headrace.runtime.revocation import Revocations

SYNC_TIMEOUT_S = 0.025


class Timer(Protocol):
    """What is to happen later."""

    def cancel(self) -> None:
        """It is not to happen."""
        ...


class Timers(Protocol):
    """The event loop, as far as `ask` needs it."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer:
        """Calls back in `delay` seconds."""
        ...


class LeaseHolder:
    """What this process may admit. `revocations` is for whoever checks callers."""

    def __init__(
        self,
        book: LeaseBook,
        revocations: Revocations,
        clock: Clock,
        loop: Timers,
        *,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
    ) -> None:
        self.revocations = revocations
        self._book = book
        self._clock = clock
        self._loop = loop
        self._sync_timeout_s = sync_timeout_s
        self._holdings = book.holdings
        self._blocked = book.breakers.blocked
        self._failing = book.breakers.own
        self._outcomes = book.outcomes

    @property
    def alone(self) -> bool:
        """Whether there is no guard now: requests are admitted by this process's own share."""
        return self._book.alone

    @property
    def holders(self) -> int:
        """How many share the limits, as the guard told last."""
        return self._book.holders

    def admit(self, tenant: str, model: str) -> Permit | None:
        """Admits a request, in microseconds. None: only `ask` can.

        Raises RATE_LIMITED, CONCURRENCY_LIMITED or BREAKER_OPEN.
        """
        if model in self._blocked:
            self._refuse_blocked(model)
            return None
        holding = self._holdings.get(tenant)
        if holding is None or holding.tokens < 1 or holding.in_flight >= holding.slots or holding.waiters:
            return self._admit_rarely(tenant, model, holding)
        holding.tokens -= 1
        holding.in_flight += 1
        holding.used += 1
        if holding.tokens < holding.low and not holding.asking:
            self._book.ask_for(holding)
        return Permit(holding, model)

    def release(self, permit: Permit, code: Code, latency_s: float) -> None:
        """The request has ended; raises RuntimeError for a permit that was released before."""
        if not permit.open:
            raise RuntimeError("the permit has been released before")
        permit.open = False
        holding = permit.holding
        holding.in_flight -= 1
        if holding.eager:
            holding.left()
            self._book.note(holding)
        if code is Code.SUCCESS and not permit.probe and permit.model not in self._failing:
            self._outcomes.succeeded(permit.model, latency_s)
        else:
            self._ended(permit, code, latency_s)

    async def ask(self, tenant: str, model: str, deadline: float | None) -> Permit:
        """Asks the guard, and waits where the tenant's limits allow that; raises as `admit`.

        `deadline` is on the monotonic clock. A guard that does not answer costs
        the sync timeout once; then requests are admitted alone until it does.
        """
        if model in self._blocked:
            self._refuse_blocked(model)
            return await self._ask_as_probe(tenant, model, deadline)
        return self.admit(tenant, model) or await self._ask(tenant, model, deadline)

    async def _ask(self, tenant: str, model: str, deadline: float | None) -> Permit:
        now = self._clock.monotonic()
        holding = self._book.holding(tenant, now)
        turn = asyncio.Event()
        waiter = Waiter(now, math.inf if deadline is None else deadline, turn.set)
        holding.waiters.append(waiter)
        self._book.ask_for(holding)
        try:
            await self._answered(waiter, turn)
            if not waiter.decided:
                await self._turn(holding, waiter, turn)
        except asyncio.CancelledError:
            holding.forget(waiter)
            self._book.note(holding)
            raise
        if waiter.refused is not None:
            raise waiter.refused
        return Permit(holding, model)

    async def _ask_as_probe(self, tenant: str, model: str, deadline: float | None) -> Permit:
        """The limits first: a probe that is refused there would have to be given back."""
        permit = self._admit_tenant(tenant, model) or await self._ask(tenant, model, deadline)
        turn = asyncio.Event()
        waiter = Waiter(0.0, math.inf, turn.set)
        self._book.ask_probe(model, waiter, self._clock.monotonic())
        try:
            await self._answered(waiter, turn)
        except asyncio.CancelledError:
            self._cancelled(permit, waiter.probe)
            raise
        if waiter.refused is not None:
            self._cancelled(permit, 0)
            raise waiter.refused
        permit.probe = waiter.probe
        return permit

    async def _answered(self, waiter: Waiter, turn: asyncio.Event) -> None:
        """Returns when the waiter has been answered, if only that it has to wait."""
        due = self._clock.monotonic() + self._sync_timeout_s
        stalled = self._loop.call_later(self._sync_timeout_s, self._stalled, waiter, due)
        try:
            await turn.wait()
        finally:
            stalled.cancel()

    async def _turn(self, holding: Holding, waiter: Waiter, turn: asyncio.Event) -> None:
        """Returns when the waiter's turn has come, or its time is over."""
        turn.clear()
        left_s = waiter.until(holding.limits.wait_s) - self._clock.monotonic()
        over = self._loop.call_later(max(0.0, left_s), self._give_up, holding, waiter)
        try:
            await turn.wait()
        finally:
            over.cancel()

    def _stalled(self, waiter: Waiter, due: float) -> None:
        """Nothing came back in time: whoever waits is decided about here.

        Unless it is this process that was too busy to see the answer in time.
        """
        if waiter.heard or waiter.decided:
            return
        now = self._clock.monotonic()
        if now - due > self._sync_timeout_s / 2:
            due = now + self._sync_timeout_s
            self._loop.call_later(self._sync_timeout_s, self._stalled, waiter, due)
        else:
            self._book.lose(now)

    def _give_up(self, holding: Holding, waiter: Waiter) -> None:
        holding.give_up(waiter, self._clock.monotonic())

    def _admit_tenant(self, tenant: str, model: str) -> Permit | None:
        """As `admit`, whatever the model's breaker says."""
        return self._admit_rarely(tenant, model, self._holdings.get(tenant))

    def _admit_rarely(self, tenant: str, model: str, holding: Holding | None) -> Permit | None:
        now = self._clock.monotonic()
        if not self._book.alone:
            if holding is None or not holding.enter(now):
                return None
            return Permit(holding, model)
        holding = holding or self._book.holding(tenant, now)
        if not holding.enter_alone(now, self._book.holders):
            return None
        return Permit(holding, model)

    def _refuse_blocked(self, model: str) -> None:
        wait_s = self._blocked[model] - self._clock.monotonic()
        if wait_s > 0.0:
            raise breaker_open(model, wait_s)

    def _cancelled(self, permit: Permit, probe: int) -> None:
        """Undoes an admission whose request will not begin."""
        permit.open = False
        permit.holding.undo()
        self._book.note(permit.holding)
        if probe:
            permit.probe = probe
            self._ended(permit, Code.IGNORED, 0.0)

    def _ended(self, permit: Permit, code: Code, latency_s: float) -> None:
        self._book.ended(permit.model, code, latency_s, permit.probe, self._clock.monotonic())
