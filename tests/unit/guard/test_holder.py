"""What a replica admits, asked as inference asks."""

import pytest

from headrace.guard.core.frames import Grant, GuardFrame, Snapshot
from headrace.guard.core.limits import Code, Mode
from headrace.guard.core.permit import Permit
from headrace.guard.unlimited import Unlimited
from headrace.runtime.errors import HeadraceError
from tests.unit.guard.scene import PATIENT, Scene, reason


async def test_leased_requests_ask_nobody() -> None:
    """As many as were granted, without a frame; the next one has to ask."""
    scene = Scene()
    assert scene.holder.admit("t", "m") is None
    scene.lease(tokens=3, slots=10)
    permits = [scene.holder.admit("t", "m") for _ in range(3)]
    assert all(permits)
    assert scene.woken == 0
    assert scene.holder.admit("t", "m") is None


async def test_leased_slots_are_a_bound() -> None:
    """Tokens do not help without a slot; one that is released is used by the next, here, without asking."""
    scene = Scene()
    scene.lease(tokens=10, slots=1)
    permit = scene.holder.admit("t", "m")
    assert permit is not None
    assert scene.holder.admit("t", "m") is None
    scene.holder.release(permit, Code.SUCCESS, 0.1)
    assert scene.holder.admit("t", "m") is not None


async def test_many_ask_with_one_frame() -> None:
    """Ten requests at once are one Want for ten; its answer serves them in their order."""
    scene = Scene()
    tasks = await scene.asking(10)
    scene.answer(tokens=6, slots=10, mode=None)
    await scene.turn()
    assert [task.done() and task.exception() is None for task in tasks] == [True] * 6 + [False] * 4
    assert {await reason(task) for task in tasks[6:]} == {"RATE_LIMITED"}


async def test_after_a_denial_nobody_asks_for_a_while() -> None:
    """Refused here, until the guard's retry delay is over."""
    scene = Scene()
    (task,) = await scene.asking()
    scene.answer(tokens=0, slots=1, mode=None)
    assert await reason(task) == "RATE_LIMITED"
    scene.lease(tokens=0, slots=1)
    scene.book.outgoing()
    with pytest.raises(HeadraceError) as raised:
        scene.holder.admit("t", "m")
    assert raised.value.retry_after_s == pytest.approx(0.5)
    assert scene.book.outgoing() is None
    scene.clock.pass_by(0.5)
    assert scene.holder.admit("t", "m") is None


async def test_too_many_in_flight_is_told_as_that() -> None:
    """Tokens were there, slots were not."""
    scene = Scene()
    tasks = await scene.asking(2)
    scene.answer(tokens=2, slots=1, mode=None)
    await scene.turn()
    assert tasks[0].done()
    assert await reason(tasks[1]) == "CONCURRENCY_LIMITED"


async def test_who_may_wait_waits_for_its_turn() -> None:
    """In the order of arrival; nobody overtakes, not even one that comes when a token does."""
    scene = Scene()
    tasks = await scene.asking(3)
    scene.answer(tokens=1, slots=10, mode=None, limits=PATIENT)
    await scene.turn()
    assert [task.done() for task in tasks] == [True, False, False]
    assert scene.holder.admit("t", "m") is None
    scene.hear(GuardFrame([Grant("t", tokens=1, mode=Mode.LEASED, limits=PATIENT)]))
    await scene.turn()
    assert [task.done() for task in tasks] == [True, True, False]
    tasks[2].cancel()


async def test_nobody_overtakes_those_who_ask() -> None:
    """A slot that comes free while others wait for the guard's answer is not the next comer's."""
    scene = Scene()
    scene.lease(tokens=5, slots=1)
    permit = scene.holder.admit("t", "m")
    assert permit is not None
    (task,) = await scene.asking()
    scene.holder.release(permit, Code.SUCCESS, 0.1)
    assert scene.holder.admit("t", "m") is None
    scene.answer(tokens=0, slots=0, mode=Mode.LEASED)
    assert isinstance(await task, Permit)


@pytest.mark.parametrize(("deadline_s", "waits_s"), [(None, 2.0), (0.3, 0.3), (9.0, 2.0)])
async def test_nobody_waits_longer_than_it_may(deadline_s: float | None, waits_s: float) -> None:
    """`wait_ms`, or its own deadline when that comes first."""
    scene = Scene()
    deadline = None if deadline_s is None else scene.clock.now + deadline_s
    (task,) = await scene.asking(deadline=deadline)
    scene.answer(tokens=0, slots=10, mode=None, limits=PATIENT)
    await scene.turn()
    scene.timers.pass_by(waits_s - 0.01)
    await scene.turn()
    assert not task.done()
    scene.timers.pass_by(0.02)
    assert await reason(task) == "RATE_LIMITED"


async def test_a_guard_that_does_not_answer_is_waited_for_once() -> None:
    """25 ms; then this process decides by its own share, for the next ones at once."""
    scene = Scene()
    (task,) = await scene.asking()
    scene.timers.pass_by(0.024)
    await scene.turn()
    assert not task.done()
    scene.timers.pass_by(0.002)
    await scene.turn()
    assert isinstance(await task, Permit)
    assert scene.holder.alone
    assert isinstance(scene.holder.admit("t", "m"), Permit)
    scene.hear(GuardFrame())
    assert not scene.holder.alone


async def test_our_own_delay_is_not_the_guards() -> None:
    """A timer that goes off late says that this process was busy: the guard gets its time again."""
    scene = Scene()
    (task,) = await scene.asking()
    scene.clock.pass_by(0.2)
    scene.timers.pass_by(0.0)
    assert not scene.holder.alone
    scene.answer(tokens=1, slots=1, mode=Mode.SYNC)
    await scene.turn()
    assert isinstance(await task, Permit)


async def test_alone_the_share_is_the_bound() -> None:
    """Burst and rate over the holders that the guard told last."""
    scene = Scene()
    scene.hear(GuardFrame(snapshot=Snapshot(holders=4)))
    scene.book.lose(scene.clock.now)
    admitted = [scene.holder.admit("t", "m") for _ in range(12)]  # 50 in flight / 4
    assert all(admitted)
    with pytest.raises(HeadraceError, match="CONCURRENCY_LIMITED"):
        scene.holder.admit("t", "m")
    for _ in range(13):
        permit = admitted.pop()
        assert permit is not None
        scene.holder.release(permit, Code.SUCCESS, 0.1)
        admitted.append(scene.holder.admit("t", "m"))
    permit = admitted.pop()
    assert permit is not None
    scene.holder.release(permit, Code.SUCCESS, 0.1)
    with pytest.raises(HeadraceError) as raised:
        scene.holder.admit("t", "m")
    assert raised.value.reason == "RATE_LIMITED"
    assert raised.value.retry_after_s == pytest.approx(0.4)


async def test_leases_run_on_until_they_are_over() -> None:
    """What was granted may be spent for a time to live without the guard, and not later."""
    scene = Scene()
    scene.lease(tokens=80, slots=40)
    scene.book.lose(scene.clock.now)
    for _ in range(40):
        assert scene.holder.admit("t", "m") is not None
    scene.clock.pass_by(1.0)
    scene.book.tick(scene.clock.now)
    holding = scene.book.holdings["t"]
    assert (holding.tokens, holding.slots) == (0, 0)


async def test_a_permit_is_released_once() -> None:
    """The second time is a fault, with a guard and without."""
    scene, unlimited = Scene(), Unlimited()
    scene.lease(tokens=1, slots=1)
    for holder in (scene.holder, unlimited):
        permit = holder.admit("t", "m")
        assert permit is not None
        holder.release(permit, Code.SUCCESS, 0.1)
        with pytest.raises(RuntimeError):
            holder.release(permit, Code.SUCCESS, 0.1)


async def test_a_request_that_leaves_while_it_asks_takes_nothing() -> None:
    """Cancelled with its answer already there: the token is returned, not spent."""
    scene = Scene()
    (task,) = await scene.asking()
    scene.answer(tokens=1, slots=1, mode=Mode.SYNC)
    task.cancel()
    await scene.turn()
    assert task.cancelled()
    frame = scene.book.outgoing()
    assert frame is not None
    assert [(settle.used, settle.tokens, settle.slots) for settle in frame.settles] == [(0, 1, 1)]
