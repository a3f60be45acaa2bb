"""What a replica admits, asked as inference asks."""

import asyncio
from collections.abc import Coroutine

import pytest

from headrace.guard.core.book import LeaseBook
from headrace.guard.core.breaker import State
from headrace.guard.core.frames import Grant, GuardFrame, KnownBreaker, Outcome, Snapshot
from headrace.guard.core.limits import BreakerRule, Code, LimitBook, Limits, Mode
from headrace.guard.core.permit import Permit
from headrace.guard.holder import LeaseHolder
from headrace.guard.unlimited import Unlimited
from headrace.runtime.errors import HeadraceError
from headrace.runtime.revocation import NO_REVOCATIONS
from tests.fakes.guard import HandClock, HandTimers

LIMITS = Limits(rate=10.0, burst=100, concurrency=50)
PATIENT = Limits(rate=10.0, burst=100, concurrency=50, wait_s=2.0)


class Scene:
    """A holder, its clock, and the guard's part played by the test."""

    def __init__(self, *, alone: bool = False) -> None:
        self.clock = HandClock()
        self.timers = HandTimers(self.clock)
        self.book = LeaseBook(LimitBook(LIMITS, breaker=BreakerRule(5, 60.0)))
        self.holder = LeaseHolder(self.book, NO_REVOCATIONS, self.clock, self.timers, sync_timeout_s=0.025)
        self.woken = 0
        if not alone:
            self.hear(GuardFrame(snapshot=Snapshot(holders=1)))
        self.book.wake = self._wake

    def hear(self, frame: GuardFrame) -> None:
        """A frame of the guard comes."""
        self.book.take(frame, self.clock.now)

    def lease(self, tokens: int, slots: int, tenant: str = "t") -> None:
        """The guard leases out."""
        self.hear(GuardFrame([Grant(tenant, tokens=tokens, slots=slots, mode=Mode.LEASED, limits=LIMITS)]))

    def answer(self, *, tokens: int, slots: int, mode: Mode | None, limits: Limits = LIMITS) -> None:
        """The guard answers the Want that is under way."""
        frame = self.book.outgoing()
        assert frame is not None
        (want,) = frame.wants
        self.hear(
            GuardFrame(
                [
                    Grant(
                        want.tenant,
                        "",
                        tokens,
                        slots,
                        mode,
                        0.5 if mode is None else 0.0,
                        limits,
                        want.sequence,
                    )
                ]
            )
        )

    async def asking(self, count: int = 1, deadline: float | None = None) -> list["asyncio.Task[Permit]"]:
        """Requests that had to ask."""
        tasks = [asyncio.create_task(self.holder.ask("t", "m", deadline)) for _ in range(count)]
        await self.turn()
        return tasks

    async def turn(self) -> None:
        """Everybody who was woken goes on."""
        for _ in range(3):
            await asyncio.sleep(0)

    def _wake(self) -> None:
        self.woken += 1


async def reason(refused: "Coroutine[object, object, Permit] | asyncio.Task[Permit]") -> str:
    """Why it was refused."""
    with pytest.raises(HeadraceError) as raised:
        await refused
    return raised.value.reason


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


async def test_an_open_breaker_refuses_here() -> None:
    """With the time that is left; the limits are not touched, and other models go on."""
    scene = Scene()
    scene.lease(tokens=2, slots=2)
    scene.hear(GuardFrame(snapshot=Snapshot(breakers=(KnownBreaker("bad", State.OPEN, 5, 60.0),))))
    scene.clock.pass_by(20.0)
    with pytest.raises(HeadraceError) as raised:
        scene.holder.admit("t", "bad")
    assert raised.value.reason == "BREAKER_OPEN"
    assert raised.value.retry_after_s == pytest.approx(40.0)
    assert await reason(scene.holder.ask("t", "bad", None)) == "BREAKER_OPEN"
    assert scene.holder.admit("t", "good") is not None
    assert scene.book.holdings["t"].tokens == 1


async def test_the_guard_says_who_probes() -> None:
    """Two ask when the time is over: one Want; the first is the probe, the other gives its token back."""
    scene = Scene()
    scene.lease(tokens=2, slots=2)
    scene.hear(GuardFrame(snapshot=Snapshot(breakers=(KnownBreaker("bad", State.HALF_OPEN, 5, 0.0),))))
    assert scene.holder.admit("t", "bad") is None
    tasks = [asyncio.create_task(scene.holder.ask("t", "bad", None)) for _ in range(2)]
    await scene.turn()
    frame = scene.book.outgoing()
    assert frame is not None
    (want,) = frame.wants
    assert want.model == "bad"
    scene.hear(GuardFrame([Grant(model="bad", probe=7, sequence=want.sequence)]))
    await scene.turn()
    permit = await tasks[0]
    assert permit.probe == 7
    assert await reason(tasks[1]) == "BREAKER_OPEN"
    scene.holder.release(permit, Code.SUCCESS, 0.5)
    frame = scene.book.outgoing()
    assert frame is not None
    assert frame.outcomes == [Outcome("bad", Code.SUCCESS, 1, 0.5, 7)]
    assert scene.book.holdings["t"].in_flight == 0


async def test_a_probe_that_is_cancelled_while_it_asks_says_so() -> None:
    """Granted in that moment: its place is freed, not held until it is given up."""
    scene = Scene()
    scene.lease(tokens=1, slots=1)
    scene.hear(GuardFrame(snapshot=Snapshot(breakers=(KnownBreaker("bad", State.HALF_OPEN, 5, 0.0),))))
    task = asyncio.create_task(scene.holder.ask("t", "bad", None))
    await scene.turn()
    frame = scene.book.outgoing()
    assert frame is not None
    scene.hear(GuardFrame([Grant(model="bad", probe=7, sequence=frame.wants[0].sequence)]))
    task.cancel()
    await scene.turn()
    frame = scene.book.outgoing()
    assert frame is not None
    assert [(outcome.code, outcome.probe) for outcome in frame.outcomes] == [(Code.IGNORED, 7)]


@pytest.mark.parametrize(
    ("code", "told"), [(Code.SUCCESS, True), (Code.FAILURE, True), (Code.IGNORED, False)]
)
async def test_what_is_ignored_is_not_even_told(code: Code, told: bool) -> None:
    """An outcome that says nothing about the model goes nowhere."""
    scene = Scene()
    scene.lease(tokens=1, slots=1)
    permit = scene.holder.admit("t", "m")
    assert permit is not None
    scene.holder.release(permit, code, 0.1)
    frame = scene.book.outgoing()
    assert bool(frame and frame.outcomes) is told


async def test_a_failure_is_told_at_once() -> None:
    """A success waits for the next tick: only failures are in a hurry."""
    scene = Scene()
    scene.lease(tokens=2, slots=2)
    good, bad = scene.holder.admit("t", "m"), scene.holder.admit("t", "m")
    assert good is not None
    assert bad is not None
    scene.holder.release(good, Code.SUCCESS, 0.1)
    assert scene.woken == 0
    scene.holder.release(bad, Code.FAILURE, 0.1)
    assert scene.woken == 1
