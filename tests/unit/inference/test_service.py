"""A request's way through the replica: checked, admitted, answered, recorded; or none of it."""

import asyncio
import threading

import pytest

from headrace.guard.client import Outcome as Ending
from headrace.metering.client import UsageKind
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.neighbours import Doorkeeper, Recorder
from tests.fakes.replica import CLOCK, encoded, replica, request


async def test_an_answer_tells_what_it_cost() -> None:
    """The cost that was recorded, its currency, and the timings."""
    async with replica() as one:
        values, told = await one.infer(3.0)
    assert values == [6.0, 6.0]
    assert (told["headrace-cost-nanos"], told["headrace-currency"]) == ("5", "USD")
    assert "headrace-cache" not in told  # nobody asked a cache
    assert [event.kind for event in one.usage.events] == [UsageKind.EXECUTED]
    assert one.usage.events[0].response_bytes > 0
    assert one.door.endings == [Ending.SUCCESS]


async def test_without_prices_no_cost_is_told() -> None:
    """A cost that nobody knows is not zero."""
    async with replica(usage=Recorder()) as one:
        _, told = await one.infer()
    assert "headrace-cost-nanos" not in told


async def test_a_key_that_stood_for_another_request_is_refused_before_anything_is_spent() -> None:
    """The second request is neither admitted nor executed."""
    key = {"idempotency-key": "k"}
    async with replica() as one:
        await one.infer(1.0, key)
        with pytest.raises(HeadraceError, match="IDEMPOTENCY_KEY_INVALID"):
            await one.infer(2.0, key)
    assert (len(one.backend.runs), one.door.endings) == (1, [Ending.SUCCESS])


async def test_a_refusal_costs_nothing() -> None:
    """Who is over a limit is neither executed nor billed, and holds no room in the outbox."""
    refusal = HeadraceError("RATE_LIMITED", "over", {}, "guard.headrace")
    async with replica(door=Doorkeeper(refusal=refusal)) as one:
        with pytest.raises(HeadraceError, match="RATE_LIMITED"):
            await one.infer()
    assert (one.backend.runs, one.usage.events, one.usage.reserved) == ([], [], 0)


async def test_bad_input_meets_no_limit() -> None:
    """It is found before the guard is asked, so that it uses nothing up."""
    async with replica() as one:
        call = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())
        with pytest.raises(HeadraceError, match="TENSOR_INVALID"):
            await one.service.infer(request(1.0, columns=3), call, encoded)
    assert (one.door.endings, one.usage.events, one.usage.reserved) == ([], [], 0)


async def test_the_guard_is_asked_where_no_lease_is() -> None:
    """Then the request waits for its answer, and goes on."""
    async with replica(door=Doorkeeper(asks=True)) as one:
        await one.infer()
    assert (one.door.asked, one.door.endings) == (1, [Ending.SUCCESS])


async def test_a_full_outbox_refuses_before_any_work() -> None:
    """What could not be billed is not done; the permit comes back."""
    async with replica(usage=Recorder(room=0)) as one:
        with pytest.raises(HeadraceError, match="USAGE_OUTBOX_FULL"):
            await one.infer()
    assert (one.backend.runs, one.door.endings) == ([], [Ending.IGNORED])


async def test_a_model_that_fails_is_told_to_the_guard_and_costs_the_caller_nothing() -> None:
    """Its work is recorded as failed, once; the request's own room is given back."""
    async with replica() as one:
        with pytest.raises(HeadraceError, match="EXECUTION_FAILED"):
            await one.infer(-1.0)
    assert one.door.endings == [Ending.FAILURE]
    assert [event.kind for event in one.usage.events] == [UsageKind.FAILED]
    assert one.usage.reserved == 0


async def test_a_caller_who_leaves_pays_for_the_work_that_it_began() -> None:
    """Its share of the batch is recorded when the batch ends; no ending is held against the model."""
    gate = threading.Event()
    async with replica(gate=gate) as one:
        task = asyncio.ensure_future(one.infer())
        await asyncio.to_thread(one.backend.started.acquire, timeout=10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.usage.events == []
        gate.set()
        await one.infer(2.0)
    assert [event.kind for event in one.usage.events] == [UsageKind.CANCELLED, UsageKind.EXECUTED]
    assert one.usage.events[0].cpu_ns >= 0
    assert one.door.endings == [Ending.IGNORED, Ending.SUCCESS]
    assert one.usage.reserved == 0


async def test_a_caller_who_leaves_the_queue_pays_nothing() -> None:
    """Nothing was executed for it, and there is nothing to record."""
    gate = threading.Event()
    async with replica(gate=gate) as one:
        first = asyncio.ensure_future(one.infer(1.0))
        await asyncio.to_thread(one.backend.started.acquire, timeout=10)
        second = asyncio.ensure_future(one.infer(2.0))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        await first
    assert [event.kind for event in one.usage.events] == [UsageKind.EXECUTED]
    assert one.usage.reserved == 0


async def test_a_caller_who_leaves_just_before_its_answer_pays_for_it() -> None:
    """The batch has ended and its caller has not yet been told, in one turn of the loop: such work was in no book once."""
    gate, loop = threading.Event(), asyncio.get_running_loop()
    async with replica(gate=gate) as one:
        task = asyncio.ensure_future(one.infer())
        await asyncio.to_thread(one.backend.started.acquire, timeout=10)

        def leave_as_it_ends() -> None:
            task.cancel() if not one.model.executor.working else loop.call_soon(leave_as_it_ends)

        leave_as_it_ends()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [event.kind for event in one.usage.events] == [UsageKind.CANCELLED]
    assert one.usage.reserved == 0
