"""Breakers over two replicas, by the real stream."""

import asyncio

import pytest

from headrace.guard.app import Running
from headrace.guard.client import Outcome, Permit
from headrace.runtime.errors import HeadraceError
from tests.contract.guard.conftest import Join, admitted, ended, joined


async def test_failures_count_over_all_replicas(guard: Running, join: Join) -> None:
    """Five in a row, three at one replica and two at the other: both refuse, and name the model."""
    async with join("r1") as one, join("r2") as two:
        await joined(guard, 2)
        for holder in (one, two, one, two, one):
            assert await ended(holder, "wide", "bad", Outcome.FAILURE) == "ok"
        await asyncio.sleep(0.05)
        for holder in (one, two):
            with pytest.raises(HeadraceError) as raised:
                holder.admit("wide", "bad")
            assert raised.value.reason == "BREAKER_OPEN"
            assert raised.value.metadata["model"] == "bad"
            assert raised.value.retry_after_s is not None
            assert 0.0 < raised.value.retry_after_s <= 0.3
            assert await ended(holder, "wide", "good", Outcome.SUCCESS) == "ok"


async def test_what_is_ignored_never_opens_a_breaker(guard: Running, join: Join) -> None:
    """A hundred callers' mistakes and cancellations in a row."""
    async with join("r1") as one:
        await joined(guard, 1)
        for _ in range(100):
            assert await ended(one, "wide", "m", Outcome.IGNORED) == "ok"
        await asyncio.sleep(0.1)
        assert await ended(one, "wide", "m", Outcome.SUCCESS) == "ok"
        assert guard.guard.breakers() == ()


async def test_exactly_one_probe_over_two_replicas(guard: Running, join: Join) -> None:
    """Half open, 100 race at two replicas: one passes, and its success closes the breaker for all."""
    async with join("r1") as one, join("r2") as two:
        await joined(guard, 2)
        for _ in range(5):
            await ended(one, "wide", "bad", Outcome.FAILURE)
        await asyncio.sleep(0.4)
        raced = await asyncio.gather(*(admitted((one, two)[n % 2], "wide", "bad") for n in range(100)))
        probes = [each for each in raced if isinstance(each, Permit)]
        assert len(probes) == 1
        assert {each for each in raced if isinstance(each, str)} == {"BREAKER_OPEN"}
        owner = one if isinstance(raced[0], Permit) or probes[0] in raced[::2] else two
        owner.release(probes[0], Outcome.SUCCESS, 0.001)
        await asyncio.sleep(0.05)
        assert await ended(one, "wide", "bad", Outcome.SUCCESS) == "ok"
        assert await ended(two, "wide", "bad", Outcome.SUCCESS) == "ok"


async def test_a_probe_that_fails_opens_it_for_all_again(guard: Running, join: Join) -> None:
    """And the next one may try after the open time."""
    async with join("r1") as one, join("r2") as two:
        await joined(guard, 2)
        for _ in range(5):
            await ended(one, "wide", "bad", Outcome.FAILURE)
        await asyncio.sleep(0.4)
        assert await ended(one, "wide", "bad", Outcome.FAILURE) == "ok"
        await asyncio.sleep(0.05)
        assert await ended(two, "wide", "bad", Outcome.SUCCESS) == "BREAKER_OPEN"
        await asyncio.sleep(0.4)
        assert await ended(two, "wide", "bad", Outcome.SUCCESS) == "ok"


async def test_a_probe_that_says_nothing_frees_its_place(guard: Running, join: Join) -> None:
    """Cancelled on the way: another request becomes the probe."""
    async with join("r1") as one:
        await joined(guard, 1)
        for _ in range(5):
            await ended(one, "wide", "bad", Outcome.FAILURE)
        await asyncio.sleep(0.4)
        assert await ended(one, "wide", "bad", Outcome.IGNORED) == "ok"
        assert await ended(one, "wide", "bad", Outcome.SUCCESS) == "ok"


async def test_the_probe_of_a_replica_that_died_is_not_waited_for(guard: Running, join: Join) -> None:
    """Its holder's stream broke: when its leases are over, another may probe."""
    async with join("r2") as two:
        async with join("r1") as one:
            await joined(guard, 2)
            for _ in range(5):
                await ended(one, "wide", "bad", Outcome.FAILURE)
            await asyncio.sleep(0.4)
            assert isinstance(await admitted(one, "wide", "bad"), Permit)
            assert await ended(two, "wide", "bad", Outcome.SUCCESS) == "BREAKER_OPEN"
        await asyncio.sleep(1.0)  # the lease's time to live, and that of a denied probe
        assert await ended(two, "wide", "bad", Outcome.SUCCESS) == "ok"


async def test_metrics_name_each_model_that_is_left_alone(guard: Running, join: Join) -> None:
    """By its state; a model that never failed is not among them."""

    def told(model: str, state: str) -> float | None:
        labels = {"model": model, "state": state}
        return guard.telemetry.registry.get_sample_value("headrace_guard_breaker_state", labels)

    async with join("r1") as one:
        await joined(guard, 1)
        for _ in range(5):
            assert told("bad", "open") is None
            await ended(one, "wide", "bad", Outcome.FAILURE)
        await asyncio.sleep(0.05)
        assert (told("bad", "open"), told("bad", "closed"), told("good", "closed")) == (1, None, None)
