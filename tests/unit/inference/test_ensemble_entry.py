"""Who enters an ensemble: judged by the queues of its steps, and by who is on the way to them. Real threads."""

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from headrace.inference.core.policy import BatchPolicy
from headrace.inference.execution import Work
from headrace.inference.executor import Executor
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.steps import CLOCK, executing, stand
from tests.support.waiting import aeventually


async def test_what_a_step_would_refuse_is_refused_at_entry() -> None:
    """The second model's queue is full: the first one is not executed for nothing."""
    gate = threading.Event()
    policy = BatchPolicy(max_batch_size=1, max_queue=1)
    async with stand(gates=(None, gate), policy=policy) as one:
        running = asyncio.create_task(one.ask(1.0))
        await executing(one.backends[1])
        waiting = asyncio.create_task(one.ask(2.0))
        await aeventually(lambda: one.members[1].executor.waiting == 1)
        with pytest.raises(HeadraceError, match="step 1") as error:
            await one.ask(3.0)
        assert error.value.reason == "QUEUE_FULL"
        assert one.backends[0].runs == [[1.0], [2.0]]
        gate.set()
        await asyncio.gather(running, waiting)


async def test_a_later_step_is_asked_at_entry_with_the_way_to_it_taken_off() -> None:
    """Its queue is as long as deadlines allow: who is still on the way would find no room in it."""
    asked: list[float] = []

    def refuses(_work: Work, _call: Call, deadline: float, _coming: int) -> HeadraceError:
        asked.append(deadline)
        return HeadraceError("DEADLINE_INFEASIBLE", "too late")

    async with stand() as one:
        await one.ask(1.0)
        second, runs = one.members[1], list(one.backends[0].runs)
        one.members[1] = replace(
            second, executor=cast("Executor", SimpleNamespace(waiting=0, refuses=refuses))
        )
        deadline = CLOCK.monotonic() + 60.0
        with pytest.raises(HeadraceError, match="step 1: too late"):
            await one.ask(2.0, deadline=deadline)
        one.members[1] = second
        assert deadline - 1.0 < asked[0] < deadline
        assert one.backends[0].runs == runs


async def test_a_later_step_counts_who_is_on_the_way_to_it() -> None:
    """Who came before, of the same tenant, until it is there or has left; beside those whom the caller counts."""
    gate, behind = threading.Event(), list[int]()
    async with stand(gates=(gate, None)) as one:
        second = one.members[1].executor

        def refuses(_work: Work, _call: Call, _deadline: float | None, coming: int) -> None:
            behind.append(coming)

        one.ensemble._last[1] = [(1, 2)]
        one.members[1] = replace(
            one.members[1],
            executor=cast("Executor", SimpleNamespace(waiting=0, refuses=refuses, submit=second.submit)),
        )
        asking = [asyncio.create_task(one.ask(float(number))) for number in range(3)]
        await executing(one.backends[0])
        call = Call("/test", {}, Caller("other", frozenset()), CLOCK.monotonic())
        assert one.ensemble.refuses(Work(1, [(1, 2)], []), call, None, 5) is None
        asking.pop().cancel()
        await asyncio.sleep(0)
        asking.append(asyncio.create_task(one.ask(3.0)))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*asking)
        await one.ask(4.0)
        assert behind == [0, 1, 2, 5, 2, 0]
        one.members[1] = replace(one.members[1], executor=second)


async def test_who_has_come_to_a_step_is_no_longer_on_the_way_to_it() -> None:
    """It waits there: its queue counts it."""
    gate = threading.Event()
    async with stand(gates=(None, gate), policy=BatchPolicy(max_batch_size=1)) as one:
        asking = [asyncio.create_task(one.ask(float(number))) for number in range(3)]
        await aeventually(lambda: one.members[1].executor.waiting == 2)
        assert [coming.count("acme") for coming in one.ensemble._coming] == [0, 0]
        gate.set()
        await asyncio.gather(*asking)
