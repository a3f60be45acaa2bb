"""The desired number: who sets it, and what it survives."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.runtime.errors import HeadraceError
from headrace.scaling.core.policy import Cause
from headrace.scaling.core.signals import Signal
from headrace.scaling.fleet import ReplicaState
from tests.fakes.scaling import FakeFleet
from tests.unit.scaling.scene import BUSY, IDLE, POLICY, Scene


async def test_a_load_over_two_thresholds_asks_for_one_more(tmp_path: Path) -> None:
    """After the window, once, and then not again before the cooldown is over."""
    scene = Scene(tmp_path, FakeFleet(0))
    causes = await scene.looks(30, BUSY)
    assert causes.count(Cause.OVERLOADED) == 1
    assert scene.scaler.desired == 2
    scene.fleet.states["inference-1"] = ReplicaState.SERVING
    causes = await scene.looks(40, BUSY)
    assert causes[0] is Cause.COOLDOWN
    assert causes.count(Cause.OVERLOADED) == 1
    assert scene.scaler.desired == 3


async def test_one_report_out_of_line_decides_nothing(tmp_path: Path) -> None:
    """However wild: a queue of a million, an answer of an hour, in one report."""
    scene = Scene(tmp_path, FakeFleet(0, 1), replace(POLICY, replicas=2))
    await scene.looks(10, {**IDLE, Signal.CPU: 0.5})
    wild = dict.fromkeys((Signal.CPU, Signal.MEMORY, Signal.RESPONSE_TIME, Signal.QUEUE), 1e6)
    await scene.looks(1, wild)
    causes = await scene.looks(20, {**IDLE, Signal.CPU: 0.5})
    assert set(causes) == {Cause.STEADY}
    assert scene.scaler.desired == 2


async def test_replicas_that_do_not_report_keep_all(tmp_path: Path) -> None:
    """Everything is idle; one of two tells nothing any more: both stay."""
    scene = Scene(tmp_path, FakeFleet(0, 1), replace(POLICY, replicas=2))
    causes = await scene.looks(30, IDLE, frozenset({"inference-1"}))
    assert set(causes) == {Cause.NO_DATA}
    assert scene.scaler.desired == 2
    causes = await scene.looks(30, IDLE)
    assert Cause.IDLE in causes
    assert scene.scaler.desired == 1


async def test_the_owners_word_counts_not_ours(tmp_path: Path) -> None:
    """A replica that was stopped by somebody is not running, whatever was started before."""
    scene = Scene(tmp_path, FakeFleet(0, 1, 2), replace(POLICY, replicas=3))
    await scene.looks(3, IDLE)
    scene.fleet.states["inference-2"] = ReplicaState.STOPPED
    seen = await scene.scaler.seen()
    assert (seen.pool.running, seen.pool.desired, seen.pool.changing) == (2, 3, True)
    await scene.looks(1, IDLE)
    assert scene.listener.names == ["inference-0", "inference-1"]


async def test_while_nobody_tells_what_runs_the_number_holds(tmp_path: Path) -> None:
    """No decision, and time that nobody saw counts for none."""
    scene = Scene(tmp_path, FakeFleet(0, 1), replace(POLICY, replicas=2))
    await scene.looks(4, IDLE)
    scene.fleet.lost = True
    scene.clock.now += 600.0
    await scene.scaler.look()
    assert scene.scaler.desired == 2
    scene.fleet.lost = False
    causes = await scene.looks(5, IDLE)
    assert Cause.IDLE not in causes
    assert scene.scaler.desired == 2


async def test_a_pinned_number_holds_until_it_is_left_to_the_policy(tmp_path: Path) -> None:
    """Over any load; then the policy goes on from there."""
    scene = Scene(tmp_path, FakeFleet(0))
    await scene.scaler.pin(3)
    scene.fleet.states |= {f"inference-{n}": ReplicaState.SERVING for n in (1, 2)}
    assert set(await scene.looks(20, IDLE)) == {Cause.PINNED}
    await scene.scaler.unpin()
    assert scene.scaler.desired == 3
    assert Cause.IDLE in await scene.looks(80, IDLE)
    assert scene.scaler.desired == 2


@pytest.mark.parametrize("replicas", [0, -1, 6, 2**31 - 1])
async def test_a_number_out_of_bounds_is_refused(tmp_path: Path, replicas: int) -> None:
    """The refusal names the bounds, and nothing has changed."""
    scene = Scene(tmp_path, FakeFleet(0))
    with pytest.raises(HeadraceError) as raised:
        await scene.scaler.pin(replicas)
    assert raised.value.reason == "REPLICAS_OUT_OF_BOUNDS"
    assert raised.value.metadata["max"] == "5"
    assert scene.scaler.desired == 1
    assert list(scene.scaler.history) == []


async def test_the_last_number_survives_the_process(tmp_path: Path) -> None:
    """What was decided, and whether an operator said it, and why; a cooldown begins with the new process."""
    scene = Scene(tmp_path, FakeFleet(0))
    await scene.looks(30, BUSY)
    again = Scene(tmp_path, FakeFleet(0, 1))
    assert again.scaler.desired == 2
    (last, *_) = again.scaler.history.newest(1)
    assert (last.decision.cause, last.decision.after) == (Cause.OVERLOADED, 2)
    assert [reading.signal for reading in last.decision.readings if reading.over] == [
        Signal.CPU,
        Signal.RESPONSE_TIME,
    ]
    assert Cause.OVERLOADED not in await again.looks(15, BUSY)
    await again.scaler.pin(4)
    assert set(await Scene(tmp_path, FakeFleet(0, 1, 2, 3)).looks(9, IDLE)) == {Cause.PINNED}


async def test_another_number_in_the_file_is_the_newer_word(tmp_path: Path) -> None:
    """Who begins with three now gets three, whatever was decided when it was one."""
    scene = Scene(tmp_path, FakeFleet(0))
    await scene.scaler.pin(4)
    again = Scene(tmp_path, FakeFleet(0, 1, 2), replace(POLICY, replicas=3))
    assert again.scaler.desired == 3
    assert set(await again.looks(3, BUSY)) != {Cause.PINNED}


async def test_a_number_that_can_not_be_stored_does_not_hold(tmp_path: Path) -> None:
    """Nothing half done: the refusal leaves the number and the history as they were."""
    scene = Scene(tmp_path / "store", FakeFleet(0))
    (tmp_path / "store").rmdir()
    with pytest.raises(HeadraceError) as raised:
        await scene.scaler.pin(2)
    assert raised.value.reason == "STORE_FAILED"
    assert scene.scaler.desired == 1
    assert list(scene.scaler.history) == []
    assert (await scene.scaler.seen()).pool.pinned is False


async def test_without_the_policy_what_runs_is_left_alone(tmp_path: Path) -> None:
    """Nobody's number but an operator's; when that ends, what runs stays."""
    scene = Scene(tmp_path, FakeFleet(0, 1), replace(POLICY, auto=False))
    assert set(await scene.looks(20, BUSY)) == {Cause.AUTO_OFF}
    assert scene.scaler.desired is None
    assert (await scene.scaler.seen()).pool.desired == 2
    seen = await scene.scaler.pin(1)
    assert (seen.pool.pinned, seen.pool.desired) == (True, 1)
    seen = await scene.scaler.unpin()
    assert (seen.pool.pinned, seen.pool.desired) == (False, 2)


async def test_the_metrics_tell_the_number_and_the_causes(tmp_path: Path) -> None:
    """Current, desired, and each decision by what it did and why."""
    scene = Scene(tmp_path, FakeFleet(0))
    await scene.looks(30, BUSY)
    value = scene.registry.get_sample_value
    assert (value("headrace_scaling_replicas_current"), value("headrace_scaling_replicas_desired")) == (1, 2)
    labels = {"action": "up", "cause": "overloaded"}
    assert value("headrace_scaling_decisions_total", labels) == 1
    assert value("headrace_scaling_signal", {"signal": "cpu"}) == pytest.approx(0.95)
