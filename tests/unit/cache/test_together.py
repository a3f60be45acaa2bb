"""Look-ups of a turn share a call; none waits longer for it than alone, and none takes another's answer."""

import asyncio
from collections.abc import Sequence

import pytest

from headrace.cache.together import AT_ONCE, CALLS, Together
from tests.fakes.cache import SetClock

BUDGET_S = 0.005


class Service:
    """Doubles numbers; `going` lets its calls come back, `failing` makes them fail."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.budgets: list[float] = []
        self.failing = False
        self.going = asyncio.Event()
        self.going.set()

    async def ask(self, questions: Sequence[int], within_s: float) -> list[int | None] | None:
        self.calls.append(list(questions))
        self.budgets.append(within_s)
        await self.going.wait()
        return None if self.failing else [2 * question for question in questions]


class Rig:
    """A service, a clock that stands, and what asks."""

    def __init__(self) -> None:
        self.service, self.clock = Service(), SetClock()
        self.together: Together[int, int] = Together(self.service.ask, self.clock, budget_s=BUDGET_S)

    def wanted(self, *numbers: int) -> list["asyncio.Task[int | None]"]:
        return [asyncio.create_task(self.together.get(number)) for number in numbers]


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def settled() -> None:
    """Everything that can go on now has."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_wanted_together_is_asked_together(rig: Rig) -> None:
    """One call, and each gets its own answer."""
    assert await asyncio.gather(*rig.wanted(1, 2, 3)) == [2, 4, 6]
    assert rig.service.calls == [[1, 2, 3]]


async def test_one_by_itself_is_asked_at_once(rig: Rig) -> None:
    """Nobody waits for company."""
    assert await rig.together.get(7) == 14
    assert rig.service.budgets == [BUDGET_S]


async def test_a_call_has_a_bound(rig: Rig) -> None:
    """The rest goes with the next one."""
    answers = await asyncio.gather(*rig.wanted(*range(AT_ONCE + 1)))
    assert answers == [2 * number for number in range(AT_ONCE + 1)]
    assert [len(call) for call in rig.service.calls] == [AT_ONCE, 1]


async def test_what_comes_meanwhile_goes_with_the_next_call(rig: Rig) -> None:
    """So many calls are under way at the most; behind them the budget runs on."""
    rig.service.going.clear()
    asking = []
    for number in range(CALLS):
        asking += rig.wanted(number)
        await settled()
    asking += rig.wanted(10)
    await settled()
    rig.clock.now += 0.002
    asking += rig.wanted(11)
    await settled()
    assert len(rig.service.calls) == CALLS
    rig.service.going.set()
    assert await asyncio.gather(*asking) == [0, 2, 20, 22]
    assert rig.service.calls[CALLS:] == [[10, 11]]
    assert rig.service.budgets[CALLS] == pytest.approx(BUDGET_S - 0.002)


async def test_who_waited_as_long_as_a_look_up_may_take_is_not_asked_for(rig: Rig) -> None:
    """A miss, without a call."""
    rig.service.going.clear()
    asking = []
    for number in range(CALLS):
        asking += rig.wanted(number)
        await settled()
    late = rig.wanted(10)
    await settled()
    rig.clock.now += 2 * BUDGET_S
    rig.service.going.set()
    assert await late[0] is None
    assert len(rig.service.calls) == CALLS
    await asyncio.gather(*asking)


async def test_what_waits_behind_a_failure_is_a_miss_too(rig: Rig) -> None:
    """One silence of the service is waited for, not one after another."""
    rig.service.going.clear()
    asking = []
    for number in range(CALLS):
        asking += rig.wanted(number)
        await settled()
    asking += rig.wanted(10, 11)
    await settled()
    rig.service.failing = True
    rig.service.going.set()
    assert await asyncio.gather(*asking) == [None] * (CALLS + 2)
    assert len(rig.service.calls) == CALLS


async def test_who_leaves_takes_nothing_from_the_others(rig: Rig) -> None:
    """Neither before the call nor during it."""
    first, second, third = rig.wanted(1, 2, 3)
    await asyncio.sleep(0)
    first.cancel()
    rig.service.going.clear()
    await settled()
    second.cancel()
    await settled()
    rig.service.going.set()
    assert await third == 6
    assert rig.service.calls == [[2, 3]]


async def test_closing_ends_what_is_under_way(rig: Rig) -> None:
    """No task is left."""
    rig.service.going.clear()
    (asking,) = rig.wanted(1)
    await settled()
    await rig.together.close()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert len(asyncio.all_tasks()) == 1
