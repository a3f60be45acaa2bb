"""Limits over several replicas, by the real stream."""

import asyncio
from collections import Counter

import pytest

from headrace.guard.app import Running
from headrace.guard.client import LeaseHolder, Outcome, Permit
from headrace.runtime.errors import HeadraceError
from tests.contract.guard.conftest import Join, admitted, ended, joined, until


async def race(holders: list[LeaseHolder], tenant: str, count: int) -> list[Permit | str]:
    """So many requests at once, in turn over the holders."""
    return await asyncio.gather(
        *(admitted(holders[number % len(holders)], tenant) for number in range(count))
    )


async def test_a_hundred_race_for_twenty(guard: Running, join: Join) -> None:
    """Over two replicas: exactly 20 are admitted, and not one more later."""
    async with join("r1") as one, join("r2") as two:
        await joined(guard, 2)
        first = await race([one, two], "few", 100)
        assert Counter(
            map(str, (type(each).__name__ if isinstance(each, Permit) else each for each in first))
        ) == {
            "Permit": 20,
            "RATE_LIMITED": 80,
        }
        assert set(await race([one, two], "few", 100)) == {"RATE_LIMITED"}


async def test_all_twenty_may_come_at_one_replica(guard: Running, join: Join) -> None:
    """What the other replica does not use is not kept for it."""
    async with join("r1") as one, join("r2"):
        await joined(guard, 2)
        permits = [each for each in await race([one], "few", 100) if isinstance(each, Permit)]
        assert len(permits) == 20


async def test_the_refusal_names_limit_tenant_and_retry_time(guard: Running, join: Join) -> None:
    """In the message and in the metadata; with the quota and the retry delay beside."""
    async with join("r1") as one:
        await joined(guard, 1)
        await race([one], "few", 20)
        with pytest.raises(HeadraceError) as raised:
            _ = one.admit("few", "m") or await one.ask("few", "m", None)
    refusal = raised.value
    assert (refusal.reason, refusal.domain) == ("RATE_LIMITED", "guard.headrace")
    assert dict(refusal.metadata) | {"retry_after_ms": ""} == {
        "tenant": "few",
        "limit": "rate",
        "rate": "0.01",
        "burst": "20",
        "retry_after_ms": "",
    }
    assert "'few'" in refusal.message
    assert "0.01 requests per second" in refusal.message
    assert f"retry in {refusal.metadata['retry_after_ms']} ms" in refusal.message
    assert refusal.retry_after_s is not None
    assert 90 < refusal.retry_after_s <= 100
    assert refusal.quota[0].subject == "tenant:few"


async def test_only_so_many_in_flight_over_all_replicas(guard: Running, join: Join) -> None:
    """The fifth of four is refused wherever it comes, and admitted when one has ended."""
    async with join("r1") as one, join("r2") as two:
        await joined(guard, 2)
        permits = [each for each in await race([one, two], "narrow", 4) if isinstance(each, Permit)]
        assert len(permits) == 4
        assert await admitted(one, "narrow") == "CONCURRENCY_LIMITED"
        assert await admitted(two, "narrow") == "CONCURRENCY_LIMITED"
        one.release(permits[0], Outcome.SUCCESS, 0.001)
        await until(lambda: {row[0]: row[3] for row in guard.guard.limits()}["narrow"] == 3)
        await asyncio.sleep(0.03)  # so long a refusal is not asked again
        assert isinstance(await admitted(two, "narrow"), Permit)


async def test_idle_slots_move_to_where_they_are_wanted(guard: Running, join: Join) -> None:
    """A replica that held nearly all slots gives them up to the one that needs them, within one request."""
    async with join("r1") as one, join("r2") as two:
        await joined(guard, 2)
        for _ in range(3):
            permits = [each for each in await race([one], "acme", 90) if isinstance(each, Permit)]
            assert len(permits) == 90
            for permit in permits:
                one.release(permit, Outcome.SUCCESS, 0.001)
        assert all(isinstance(each, Permit) for each in await race([two], "acme", 70))


async def test_whoever_may_wait_is_admitted_in_turn(guard: Running, join: Join) -> None:
    """With `wait_ms`: first come, first served, at the pace of the rate, while others are still served."""
    async with join("r1") as one:
        await joined(guard, 1)
        order: list[int] = []

        async def request(number: int) -> None:
            await one.ask("patient", "m", None)
            order.append(number)

        loop = asyncio.get_running_loop()
        start = loop.time()
        waiting = [asyncio.create_task(request(number)) for number in range(6)]
        assert await ended(one, "wide", "m", Outcome.SUCCESS) == "ok"
        assert loop.time() - start < 0.1
        await asyncio.gather(*waiting)
        assert order == sorted(order)
        assert loop.time() - start >= 5 / 50 * 0.9


async def test_who_waits_waits_no_longer_than_its_deadline(guard: Running, join: Join) -> None:
    """Then it is refused, and its place in the queue is nobody's."""
    async with join("r1") as one:
        await joined(guard, 1)
        loop = asyncio.get_running_loop()
        asked = [asyncio.create_task(one.ask("patient", "m", loop.time() + 0.06)) for _ in range(40)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, HeadraceError)]
        assert refused
        assert {each.reason for each in refused} == {"RATE_LIMITED"}
        assert isinstance(await one.ask("patient", "m", None), Permit)


async def test_who_leaves_the_queue_takes_nothing(guard: Running, join: Join) -> None:
    """Cancelled waiters cost no token and hold no slot: all others are served."""
    async with join("r1") as one:
        await joined(guard, 1)
        asked = [asyncio.create_task(one.ask("patient", "m", None)) for _ in range(10)]
        await asyncio.sleep(0)
        for each in asked[1:9]:
            each.cancel()
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, Permit) for each in done) == 2


async def test_a_replica_that_leaves_gives_back_what_it_had(guard: Running, join: Join) -> None:
    """At once when it ends in order; the guard then remembers nothing of it."""
    async with join("r1") as one:
        await joined(guard, 1)
        for _ in range(50):
            assert await ended(one, "wide", "m", Outcome.SUCCESS) == "ok"
    await until(lambda: not guard.guard.holders)
    rows = {row[0]: row for row in guard.guard.limits()}
    assert rows["wide"][3:] == (0, 0)


async def test_a_permit_is_released_once(guard: Running, join: Join) -> None:
    """A second release is a fault of the caller, told loudly: it would let one request too many in."""
    async with join("r1") as one:
        await joined(guard, 1)
        permit = await one.ask("wide", "m", None)
        one.release(permit, Outcome.SUCCESS, 0.001)
        with pytest.raises(RuntimeError):
            one.release(permit, Outcome.SUCCESS, 0.001)
