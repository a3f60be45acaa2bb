"""Who waits before a step while the step behind it is busy."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from headrace.inference.core.history import History, PastBatch
from headrace.inference.executor import Executor
from headrace.inference.holding import Holding


def follower(took_s: float = 0.05, *, busy: bool = True) -> Executor:
    history = History()
    history.add(PastBatch(0.0, "", "", 1, 1, 1, 0.0, 0.0, took_s, 0.0, 1), failed=0, cells=0, padded=0)
    return cast("Executor", SimpleNamespace(busy=busy, history=history))


@pytest.mark.parametrize("behind", [follower(busy=False), follower(took_s=0.001)])
async def test_nobody_waits_for_a_step_that_has_time_or_is_quick(behind: Executor) -> None:
    """Not even for one turn of the loop."""
    holding = Holding(behind)
    with pytest.raises(StopIteration):
        holding.wait().send(None)


async def test_those_who_come_meanwhile_go_together() -> None:
    """The first one's wait is everybody's; one who leaves takes nobody along."""
    holding, gone = Holding(follower()), list[int]()

    async def passing(number: int) -> None:
        await holding.wait()
        gone.append(number)

    first, second, third = (asyncio.create_task(passing(number)) for number in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await first
    assert gone in ([0], [0, 2])
    await third
    assert gone == [0, 2]
    assert second.cancelled()
