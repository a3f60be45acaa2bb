"""A holder of leases whose guard, clock and timers are played by the test."""

import asyncio
from collections.abc import Coroutine

import pytest

from headrace.guard.core.book import LeaseBook
from headrace.guard.core.frames import Grant, GuardFrame, Snapshot
from headrace.guard.core.limits import BreakerRule, LimitBook, Limits, Mode
from headrace.guard.core.permit import Permit
from headrace.guard.holder import LeaseHolder
from headrace.runtime.errors import HeadraceError
from headrace.runtime.revocation import NO_REVOCATIONS
from tests.fakes.guard import HandClock, HandTimers

LIMITS = Limits(rate=10.0, burst=100, concurrency=50)
PATIENT = Limits(rate=10.0, burst=100, concurrency=50, wait_s=2.0)


class Scene:
    """A holder, its clock, and the guard's part played by the test."""

    def __init__(self, *, alone: bool = False) -> None:
        self.clock = HandClock()
        self.timers = HandTimers(self.clock)
        self.book = LeaseBook(LimitBook(LIMITS, breaker=BreakerRule(5, 60.0)))
        self.holder = LeaseHolder(self.book, NO_REVOCATIONS, self.clock, self.timers, sync_timeout_s=0.025)
        self.woken = 0
        if not alone:
            self.hear(GuardFrame(snapshot=Snapshot(holders=1)))
        self.book.wake = self._wake

    def hear(self, frame: GuardFrame) -> None:
        """A frame of the guard comes."""
        self.book.take(frame, self.clock.now)

    def lease(self, tokens: int, slots: int, tenant: str = "t") -> None:
        """The guard leases out."""
        self.hear(GuardFrame([Grant(tenant, tokens=tokens, slots=slots, mode=Mode.LEASED, limits=LIMITS)]))

    def answer(self, *, tokens: int, slots: int, mode: Mode | None, limits: Limits = LIMITS) -> None:
        """The guard answers the Want that is under way."""
        frame = self.book.outgoing()
        assert frame is not None
        (want,) = frame.wants
        self.hear(
            GuardFrame(
                [
                    Grant(
                        want.tenant,
                        "",
                        tokens,
                        slots,
                        mode,
                        0.5 if mode is None else 0.0,
                        limits,
                        want.sequence,
                    )
                ]
            )
        )

    async def asking(self, count: int = 1, deadline: float | None = None) -> list["asyncio.Task[Permit]"]:
        """Requests that had to ask."""
        tasks = [asyncio.create_task(self.holder.ask("t", "m", deadline)) for _ in range(count)]
        await self.turn()
        return tasks

    async def turn(self) -> None:
        """Everybody who was woken goes on."""
        for _ in range(3):
            await asyncio.sleep(0)

    def _wake(self) -> None:
        self.woken += 1


async def reason(refused: "Coroutine[object, object, Permit] | asyncio.Task[Permit]") -> str:
    """Why it was refused."""
    with pytest.raises(HeadraceError) as raised:
        await refused
    return raised.value.reason
