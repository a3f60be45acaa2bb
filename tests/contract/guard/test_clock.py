"""Clocks may jump (row 40): leases and breakers go by the monotonic one."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from headrace.guard.app import build
from headrace.guard.client import Outcome, holding_leases
from headrace.guard.settings import Settings
from headrace.runtime.telemetry import quiet
from tests.contract.guard.conftest import ended, joined

HOUR = 3600.0


class JumpingClock:
    """The machine's clocks, but for a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic()

    def time_ns(self) -> int:
        return time.time_ns() + int(self.offset_s * 1e9)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.mark.parametrize("jump_s", [HOUR, -HOUR])
async def test_a_wall_clock_that_jumps_changes_no_limit(
    settings: Settings, clock: JumpingClock, jump_s: float
) -> None:
    """By an hour, either way, at the guard and at its holders: no token comes back, no lease ends, no breaker closes."""
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(build(settings, clock=clock))
        target = f"unix:{settings.socket}"
        one = await stack.enter_async_context(
            holding_leases(target, "r1", "1", clock, quiet()[0], sync_timeout_s=1.0)
        )
        await joined(guard, 1)
        for _ in range(20):
            assert await ended(one, "few", "m", Outcome.SUCCESS) == "ok"
        permit = await one.ask("narrow", "m", None)
        clock.offset_s = jump_s
        await asyncio.sleep(0.1)
        assert await ended(one, "few", "m", Outcome.SUCCESS) == "RATE_LIMITED"
        assert {row[0]: row[3] for row in guard.guard.limits()}["narrow"] == 1
        for _ in range(5):
            assert await ended(one, "wide", "bad", Outcome.FAILURE) == "ok"
        await asyncio.sleep(0.05)
        clock.offset_s = -jump_s
        assert await ended(one, "wide", "bad", Outcome.FAILURE) == "BREAKER_OPEN"
        assert not one.alone
        one.release(permit, Outcome.SUCCESS, 0.1)
