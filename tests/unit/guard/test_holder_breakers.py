"""Breakers at a replica: who is refused, who probes, what is told."""

import asyncio

import pytest

from headrace.guard.core.breaker import State
from headrace.guard.core.frames import Grant, GuardFrame, KnownBreaker, Outcome, Snapshot
from headrace.guard.core.limits import Code
from headrace.runtime.errors import HeadraceError
from tests.unit.guard.scene import Scene, reason


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
