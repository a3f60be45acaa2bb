"""Single flight: one work for all who ask, and nobody loses it by another's leaving."""

import asyncio

import pytest

from headrace.cache.flights import Flights, deadline_exceeded
from headrace.runtime.errors import HeadraceError
from tests.fakes.cache import SetClock

KEY = b"k"


class Work:
    """Work that ends when it is told to; counts how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.begun += 1
        try:
            return await asyncio.shield(self.done)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.fixture
async def flights() -> Flights[str]:
    return Flights(SetClock())


async def turns(count: int = 5) -> None:
    """Lets the loop run what can run."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_thousand_who_ask_cost_one_work(flights: Flights[str]) -> None:
    """A stampede: all get the result, exactly one of them as the first."""
    work = Work()
    asking = [asyncio.create_task(flights.share(KEY, work, None)) for _ in range(1000)]
    await turns()
    work.done.set_result("answer")
    results = await asyncio.gather(*asking)
    assert work.begun == 1
    assert {value for value, _ in results} == {"answer"}
    assert [first for _, first in results].count(True) == 1
    assert len(flights) == 0


async def test_a_leader_that_is_cancelled_takes_nothing_from_the_others(flights: Flights[str]) -> None:
    """The work goes on, and the next one takes what the leader would have."""
    work = Work()
    leader = asyncio.create_task(flights.share(KEY, work, None))
    await turns()
    followers = [asyncio.create_task(flights.share(KEY, work, None)) for _ in range(3)]
    await turns()
    leader.cancel()
    await turns()
    assert leader.cancelled()
    work.done.set_result("answer")
    results = await asyncio.gather(*followers)
    assert results == [("answer", True), ("answer", False), ("answer", False)]
    assert (work.begun, work.cancelled) == (1, 0)


async def test_work_that_nobody_waits_for_is_cancelled(flights: Flights[str]) -> None:
    """After the last one left, not before; who comes then begins anew."""
    work = Work()
    asking = [asyncio.create_task(flights.share(KEY, work, None)) for _ in range(2)]
    await turns()
    asking[0].cancel()
    await turns()
    assert work.cancelled == 0
    asking[1].cancel()
    fresh = Work()
    fresh.done.set_result("fresh")
    await turns(1)
    assert await flights.share(KEY, fresh, None) == ("fresh", True)
    assert work.cancelled == 1


async def test_each_leaves_at_its_own_deadline(flights: Flights[str]) -> None:
    """DEADLINE_EXCEEDED for the one whose time is over; the other gets the answer."""
    work = Work()
    patient = asyncio.create_task(flights.share(KEY, work, None))
    await turns()
    with pytest.raises(HeadraceError) as raised:
        await flights.share(KEY, work, 999.0)  # the clock stands at 1000
    assert raised.value.reason == "DEADLINE_EXCEEDED"
    work.done.set_result("answer")
    assert await patient == ("answer", True)


async def test_a_failure_goes_to_all_and_is_forgotten(flights: Flights[str]) -> None:
    """The next one who asks works again."""
    work = Work()
    asking = [asyncio.create_task(flights.share(KEY, work, None)) for _ in range(3)]
    await turns()
    work.done.set_exception(HeadraceError("QUEUE_FULL", "full"))
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(result) for result in results] == ["QUEUE_FULL: full"] * 3
    again = Work()
    again.done.set_result("answer")
    assert await flights.share(KEY, again, None) == ("answer", True)


async def test_the_leaders_deadline_is_not_the_followers_failure(flights: Flights[str]) -> None:
    """Work that ended at the leader's deadline is begun again with a follower's own, once for all of them."""
    work, own = Work(), Work()
    leader = asyncio.create_task(flights.share(KEY, work, None))
    await turns()
    followers = [asyncio.create_task(flights.share(KEY, own, None)) for _ in range(3)]
    await turns()
    work.done.set_exception(deadline_exceeded())
    await turns()
    own.done.set_result("answer")
    with pytest.raises(HeadraceError, match="DEADLINE_EXCEEDED"):
        await leader
    assert {value for value, _ in await asyncio.gather(*followers)} == {"answer"}
    assert (work.begun, own.begun) == (1, 1)


@pytest.mark.parametrize(
    ("latest", "refused"), [(1004.0, True), (1005.0, True), (1006.0, False), (None, False)]
)
async def test_what_can_not_be_by_the_leaders_deadline_may_be_by_a_later_one(
    flights: Flights[str], latest: float | None, *, refused: bool
) -> None:
    """Only who can wait longer asks again: the others would be refused too, each after the other."""
    work, own = Work(), Work()
    leader = asyncio.create_task(flights.share(KEY, work, 1005.0))
    await turns()
    follower = asyncio.create_task(flights.share(KEY, own, latest))
    await turns()
    work.done.set_exception(HeadraceError("DEADLINE_INFEASIBLE", "no time"))
    own.done.set_result("answer")
    results = await asyncio.gather(leader, follower, return_exceptions=True)
    assert str(results[0]) == "DEADLINE_INFEASIBLE: no time"
    assert str(results[1]) == ("DEADLINE_INFEASIBLE: no time" if refused else str(("answer", True)))
    assert (work.begun, own.begun) == (1, 0 if refused else 1)


async def test_work_that_is_cancelled_from_inside_is_begun_again(flights: Flights[str]) -> None:
    """A batcher that drops the leader's request must not drop the followers'."""
    work, own = Work(), Work()
    leader = asyncio.create_task(flights.share(KEY, work, None))
    await turns()
    follower = asyncio.create_task(flights.share(KEY, own, None))
    await turns()
    work.done.cancel()
    own.done.set_result("answer")
    assert await follower == ("answer", True)
    with pytest.raises(asyncio.CancelledError):
        await leader


async def test_keys_do_not_wait_for_each_other(flights: Flights[str]) -> None:
    """Another key is another work, also while the first one hangs."""
    hanging, work = Work(), Work()
    waiting = asyncio.create_task(flights.share(KEY, hanging, None))
    await turns()
    work.done.set_result("answer")
    assert await flights.share(b"other", work, None) == ("answer", True)
    waiting.cancel()
    await turns()


async def test_a_failure_that_nobody_waits_for_is_no_warning(flights: Flights[str]) -> None:
    """The last waiter left in the very turn in which the work failed; nothing is left to be told."""
    work = Work()
    asking = asyncio.create_task(flights.share(KEY, work, None))
    await turns()
    work.done.set_exception(RuntimeError("late"))
    asking.cancel()
    await turns()
    assert len(flights) == 0
