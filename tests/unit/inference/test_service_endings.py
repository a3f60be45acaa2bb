"""However a request ends, nothing of it is left: no permit, no room in the outbox, no place in the queue.

The part of Triton's L0_grpc_state_cleanup that no caller can see.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import ANONYMOUS, Call
from tests.fakes.neighbours import Recorder
from tests.fakes.replica import CLOCK, Replica, encoded, replica, request
from tests.support.waiting import aeventually

Ending = Callable[[Replica, threading.Event], Awaitable[int]]
"""Has requests end in one way; returns how many of them were admitted."""


async def answered(one: Replica, gate: threading.Event) -> int:
    gate.set()
    await one.infer(1.0)
    return 1


async def failed(one: Replica, gate: threading.Event) -> int:
    gate.set()
    with pytest.raises(HeadraceError, match="EXECUTION_FAILED"):
        await one.infer(one.backend.poison)
    return 1


async def refused(one: Replica, gate: threading.Event) -> int:
    with pytest.raises(HeadraceError, match="PARAMETER_INVALID"):
        await one.infer(1.0, priority=-1)
    return 0


async def left_while_it_waited(one: Replica, gate: threading.Event) -> int:
    running = await _running(one)
    waiting = asyncio.create_task(one.infer(2.0))
    await aeventually(lambda: one.model.executor.waiting == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert one.model.executor.waiting == 0  # while the other still runs
    gate.set()
    await running
    return 2


async def left_while_it_ran(one: Replica, gate: threading.Event) -> int:
    running = await _running(one)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gate.set()
    return 1


async def came_too_late(one: Replica, gate: threading.Event) -> int:
    running = await _running(one)
    now = CLOCK.monotonic()
    late = Call("/test", {}, ANONYMOUS, now, deadline=now + 0.02)
    with pytest.raises(HeadraceError, match="DEADLINE_EXCEEDED"):
        await one.service.infer(request(2.0), late, encoded)
    gate.set()
    await running
    return 2


async def _running(one: Replica) -> "asyncio.Task[object]":
    """A request that the model is busy with."""
    task: asyncio.Task[object] = asyncio.create_task(one.infer(1.0))
    await asyncio.to_thread(one.backend.started.acquire, timeout=10)
    return task


@pytest.mark.parametrize(
    "ends", [answered, failed, refused, left_while_it_waited, left_while_it_ran, came_too_late]
)
async def test_nothing_is_left_of_a_request_that_was(ends: Ending) -> None:
    """Each permit is given back once; the queue is empty and nobody holds the model."""
    gate, usage = threading.Event(), Recorder(price=5)
    async with replica(gate=gate, usage=usage) as one:
        before = asyncio.all_tasks()
        admitted = await ends(one, gate)
        await aeventually(lambda: not one.model.executor.working)
        await aeventually(lambda: asyncio.all_tasks() <= before)
        assert len(one.door.endings) == admitted
        assert usage.reserved == 0
        await asyncio.wait_for(one.model.use.ended(), 10)
