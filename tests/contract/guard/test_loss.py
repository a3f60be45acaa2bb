"""A guard that is killed, stalled, or started again, while requests go on."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from headrace.guard.client import LeaseHolder, Outcome, Permit, holding_leases
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.telemetry import quiet
from tests.contract.guard.conftest import admitted
from tests.contract.guard.process import GuardProcess

LIMITS: dict[str, object] = {
    "breaker": {"failures": 5, "open_s": 30},
    "tenants": {
        "few": {"rate": 0.01, "burst": 20, "concurrency": 1000},
        "busy": {"rate": 500, "burst": 100, "concurrency": 400},
    },
}


@pytest.fixture
def process(tmp_path: Path) -> Iterator[GuardProcess]:
    """A guard that has not been started."""
    guard = GuardProcess(tmp_path, LIMITS)
    yield guard
    guard.close()


def joining(
    process: GuardProcess, name: str, sync_timeout_s: float = 1.0
) -> AbstractAsyncContextManager[LeaseHolder]:
    """A holder of its leases. Its patience is long where a guard that is slow must not count as one that is lost."""
    return holding_leases(process.target, name, "1", SystemClock(), quiet()[0], sync_timeout_s=sync_timeout_s)


async def connected(*holders: LeaseHolder) -> None:
    """Returns when each holder has its guard and knows of all others."""
    async with asyncio.timeout(10):
        while any(holder.alone or holder.holders < len(holders) for holder in holders):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def request(holder: LeaseHolder, tenant: str) -> tuple[str, float]:
    """What became of one request, and how long the admission took."""
    start = time.perf_counter()
    permit = await admitted(holder, tenant)
    took_s = time.perf_counter() - start
    if isinstance(permit, Permit):
        holder.release(permit, Outcome.SUCCESS, 0.001)
        return "ok", took_s
    return permit, took_s


async def load(
    holders: list[LeaseHolder], tenant: str, rate: float, seconds: float
) -> tuple[Counter[str], list[float]]:
    """So many requests a second, one after the other, in turn over the holders."""
    outcomes: Counter[str] = Counter()
    times = []
    start = time.monotonic()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        outcome, took_s = await request(holders[number % len(holders)], tenant)
        outcomes[outcome] += 1
        times.append(took_s)
    return outcomes, times


async def test_requests_go_on_without_a_guard(process: GuardProcess) -> None:
    """Killed under load and started again: no request within the limits is refused, none waits."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1") as one, joining(process, "r2") as two:
        await connected(one, two)
        await load([one, two], "busy", 200, 0.5)
        running = asyncio.create_task(load([one, two], "busy", 200, 3.0))
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(1.0)
        await asyncio.to_thread(process.start)
        outcomes, times = await running
        assert set(outcomes) == {"ok"}
        assert sorted(times)[int(len(times) * 0.99)] < 0.03
        await connected(one, two)


async def test_a_stalled_guard_delays_one_request(process: GuardProcess) -> None:
    """SIGSTOP: the first that has to ask waits the sync timeout, those after it do not; after SIGCONT it is asked again."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1", 0.025) as one:
        await connected(one)
        process.stop()
        _, first_s = await request(one, "few")
        assert first_s < 0.2
        later = [await request(one, "few") for _ in range(10)]
        assert {outcome for outcome, _ in later} == {"ok"}
        assert max(took_s for _, took_s in later) < 0.02
        process.go_on()
        await connected(one)
        outcomes = Counter([(await request(one, "few"))[0] for _ in range(30)])
        # What was admitted meanwhile has been charged: 20 in all, the guard's and our own.
        assert outcomes["ok"] == 20 - 11


async def test_alone_a_replica_has_its_share(process: GuardProcess) -> None:
    """Two replicas without a guard admit half of the limit each, and what they had used before counts."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1") as one, joining(process, "r2") as two:
        await connected(one, two)
        before = [await request(one, "few") for _ in range(4)] + [await request(two, "few") for _ in range(4)]
        assert {outcome for outcome, _ in before} == {"ok"}
        process.kill()
        await asyncio.sleep(0.1)
        for holder in (one, two):
            outcomes = Counter([(await request(holder, "few"))[0] for _ in range(30)])
            assert outcomes == {"ok": 6, "RATE_LIMITED": 24}


async def test_a_tenant_that_comes_first_without_a_guard(process: GuardProcess) -> None:
    """Its own limits hold, though it was never asked for: the guard told them all when there was one."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1") as one:
        await connected(one)
        process.kill()
        await asyncio.sleep(0.1)
        outcomes = Counter([(await request(one, "few"))[0] for _ in range(30)])
        assert outcomes == {"ok": 20, "RATE_LIMITED": 10}


async def test_a_new_guard_learns_what_was_spent(process: GuardProcess) -> None:
    """Killed and started again in the middle of a race for 20: still exactly 20."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1") as one, joining(process, "r2") as two:
        await connected(one, two)
        first = [await request(holder, "few") for holder in (one, two) for _ in range(6)]
        assert {outcome for outcome, _ in first} == {"ok"}
        process.kill()
        await asyncio.to_thread(process.start)
        await connected(one, two)
        outcomes = Counter([(await request((one, two)[n % 2], "few"))[0] for n in range(60)])
        assert outcomes["ok"] == 20 - 12


async def test_an_open_breaker_outlives_the_guard(process: GuardProcess) -> None:
    """The replicas remember it while there is none, and tell the next one."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1") as one:
        await connected(one)
        for _ in range(5):
            permit = await one.ask("busy", "bad", None)
            one.release(permit, Outcome.FAILURE, 0.001)
        await asyncio.sleep(0.1)
        process.kill()
        with pytest.raises(HeadraceError, match="BREAKER_OPEN"):
            one.admit("busy", "bad")
        await asyncio.to_thread(process.start)
        await connected(one)
        async with joining(process, "r2") as two:
            await connected(one, two)
            assert await admitted(two, "busy", "bad") == "BREAKER_OPEN"


async def test_without_a_guard_failures_still_open_a_breaker(process: GuardProcess) -> None:
    """Each replica counts for itself; half open, it lets one probe through, whose success closes."""
    async with joining(process, "r1") as one:
        for _ in range(5):
            permit = one.admit("acme", "bad")
            assert permit is not None
            one.release(permit, Outcome.FAILURE, 0.001)
        with pytest.raises(HeadraceError, match="BREAKER_OPEN"):
            one.admit("acme", "bad")
        assert one.admit("acme", "good") is not None


async def test_a_guard_stops_at_once(process: GuardProcess) -> None:
    """SIGTERM ends the lease streams; it does not wait for its grace to be over."""
    await asyncio.to_thread(process.start)
    async with joining(process, "r1") as one:
        await connected(one)
        assert process.terminate() < 3.0
        assert (await request(one, "acme"))[0] == "ok"
