"""The number is made real: one at a time, by what really runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from headrace.scaling.errors import supervisor_lost
from headrace.scaling.fleet import ReplicaState
from tests.fakes.scaling import FakeFleet
from tests.unit.scaling.scene import POLICY, Scene, until


@asynccontextmanager
async def stepping(scene: Scene) -> AsyncIterator[Scene]:
    """The scene, with its stepper running."""
    task = asyncio.get_running_loop().create_task(scene.stepper.run())
    try:
        yield scene
    finally:
        task.cancel()


async def test_replicas_come_one_after_the_other(tmp_path: Path) -> None:
    """Three more, and never two at a time."""
    async with stepping(Scene(tmp_path, FakeFleet(0))) as scene:
        await scene.scaler.pin(4)
        await until(lambda: len(scene.fleet.serving) == 4)
        assert scene.fleet.most_at_once == 1


async def test_the_highest_number_goes_first(tmp_path: Path) -> None:
    """By number, not by text: 10 is above 2."""
    async with stepping(Scene(tmp_path, FakeFleet(0, 2, 10), replace(POLICY, replicas=3))) as scene:
        await scene.scaler.pin(1)
        await until(lambda: scene.fleet.serving == ["inference-0"])
        assert scene.fleet.steps == ["STOPPED inference-10", "STOPPED inference-2"]


async def test_one_that_does_not_serve_goes_before_one_that_does(tmp_path: Path) -> None:
    """What is not there yet loses nobody."""
    scene = Scene(tmp_path, FakeFleet(0, 1, 2), replace(POLICY, replicas=3))
    scene.fleet.states["inference-0"] = ReplicaState.STARTING
    async with stepping(scene):
        await scene.scaler.pin(2)
        await until(lambda: scene.fleet.steps == ["STOPPED inference-0"])


async def test_a_newer_number_holds_at_once(tmp_path: Path) -> None:
    """What is on its way ends first; nothing more is done for the older number."""
    async with stepping(Scene(tmp_path, FakeFleet(0))) as scene:
        scene.fleet.gate.clear()
        await scene.scaler.pin(5)
        await until(lambda: len(scene.fleet.states) == 2)
        await scene.scaler.pin(2)
        scene.fleet.gate.set()
        await until(lambda: scene.fleet.steps == ["SERVING inference-1"])
        assert scene.fleet.serving == ["inference-0", "inference-1"]


async def test_one_that_went_by_itself_is_replaced(tmp_path: Path) -> None:
    """Nobody counts: whoever stopped it, one is missing."""
    scene = Scene(tmp_path, FakeFleet(0, 1), replace(POLICY, replicas=2))
    async with stepping(scene):
        scene.fleet.states["inference-1"] = ReplicaState.STOPPED
        scene.progress.ask()
        await until(lambda: scene.fleet.steps == ["SERVING inference-1"])


async def test_one_that_drains_is_on_its_way_out(tmp_path: Path) -> None:
    """It is no replica any more: another one comes in its place, and it is not stopped twice."""
    scene = Scene(tmp_path, FakeFleet(0, 1), replace(POLICY, replicas=2))
    async with stepping(scene):
        scene.fleet.states["inference-1"] = ReplicaState.DRAINING
        scene.progress.ask()
        await until(lambda: scene.fleet.steps == ["SERVING inference-2"])


async def test_replicas_that_are_not_begun_yet_are_not_missing(tmp_path: Path) -> None:
    """At the start of a mesh its owner begins them; until there was one, nothing is started."""
    scene = Scene(tmp_path, FakeFleet(), replace(POLICY, replicas=2))
    async with stepping(scene):
        await asyncio.sleep(0)
        await scene.looks(3, {})
        assert scene.fleet.steps == []
        await scene.scaler.pin(2)  # an operator who asks gets them
        await until(lambda: len(scene.fleet.serving) == 2)


async def test_a_failure_is_told_and_tried_again(tmp_path: Path) -> None:
    """The reason stands in the pool until it works; a newer number is tried at once."""
    scene = Scene(tmp_path, FakeFleet(0))
    async with stepping(scene):
        scene.fleet.broken = supervisor_lost("UNAVAILABLE")
        await scene.scaler.pin(2)
        await until(lambda: "supervisor" in scene.progress.problem)
        scene.fleet.broken = None
        await scene.scaler.pin(2)
        await until(lambda: len(scene.fleet.serving) == 2)
        await until(lambda: scene.progress.problem == "")
    value = scene.registry.get_sample_value
    outcomes = {
        name: value("headrace_scaling_steps_total", {"outcome": name}) for name in ("failed", "started")
    }
    assert outcomes == {"failed": 1, "started": 1}
