"""Scaling tells the gateway its replicas: whatever happens to scaling, no call fails and nothing flaps."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from headrace.local.edge import SETTLE_S
from headrace.local.v1.process_pb2 import ProcessState
from headrace.local.v1.supervisor_service_pb2 import DrainRequest, StartRequest, StopRequest
from tests.conftest import MeshOf
from tests.support.mesh import Mesh, MeshOptions
from tests.support.replicas import (
    UP_S,
    again,
    changes,
    in_a_thread,
    process,
    scaling_here,
    streams,
    supervisor,
    until_listening,
    until_used,
    used,
)
from tests.support.requests import Linear
from tests.support.steady import Steady
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

BOTH = ("inference-0", "inference-1")


@pytest.fixture
def pair(mesh_of: MeshOf) -> Iterator[Mesh]:
    """Two replicas, whole before and after."""
    running = mesh_of(MeshOptions(replicas=2))
    whole(running)
    yield running
    whole(running)


def whole(mesh: Mesh) -> None:
    until_listening(mesh)
    until_used(mesh, *BOTH)


def kill(mesh: Mesh, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(process(mesh, name).pid, number)


def killed_and_back(mesh: Mesh) -> None:
    """kill -9 of scaling; returns when the gateway listens to another one."""
    before = process(mesh, "scaling").pid
    kill(mesh, "scaling")
    again(mesh, "scaling", before)
    until_listening(mesh)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_scaling_is_killed(pair: Mesh, linear: Linear, rounds: int) -> None:
    """kill -9 under load: 0 failed calls; it comes back with the list of before, and the gateway sees no change."""
    before = changes(pair)
    with Steady(pair, linear).blowing() as tally:
        for _ in range(rounds):
            killed_and_back(pair)
            assert used(pair) == set(BOTH)
    assert not tally.errors
    assert not tally.wrong
    assert tally.calls
    assert changes(pair) == before


@pytest.mark.parametrize(
    "seconds", [3.0, pytest.param(25.0, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
def test_scaling_is_stalled(pair: Mesh, linear: Linear, seconds: float) -> None:
    """SIGSTOP under load: 0 failed calls, and the gateway keeps its replicas."""
    before = changes(pair)
    with Steady(pair, linear).blowing() as tally:
        kill(pair, "scaling", signal.SIGSTOP)
        time.sleep(seconds)
        assert used(pair) == set(BOTH)
        kill(pair, "scaling", signal.SIGCONT)
        until_listening(pair)
    assert not tally.errors
    assert not tally.wrong
    assert changes(pair) == before


def test_the_gateway_starts_anew(pair: Mesh) -> None:
    """A gateway that was killed is told the replicas when it asks, and is ready with them."""
    before = process(pair, "gateway").pid
    kill(pair, "gateway")
    again(pair, "gateway", before)
    assert used(pair) == set(BOTH)


async def test_replicas_come_and_go(pair: Mesh, linear: Linear) -> None:
    """A replica more, and one less, under load, both by the fleet: 0 failed calls.

    The new one is in use when `start` returns, the old one stopped and forgotten when `stop` does.
    """
    with Steady(pair, linear).blowing() as tally:
        async with scaling_here(pair) as scaling:
            await in_a_thread(lambda: eventually(lambda: streams(pair) == 2, "the gateway listens", UP_S))
            started = await scaling.fleet.start()
            assert await in_a_thread(lambda: used(pair)) == {*BOTH, started.name}
            await scaling.fleet.stop(started.name)
            assert await in_a_thread(lambda: used(pair)) == set(BOTH)
            stopped = await in_a_thread(lambda: process(pair, started.name))
            assert (stopped.state, stopped.last_exit) == (ProcessState.PROCESS_STATE_STOPPED, "exit code 0")
    assert not tally.errors
    assert not tally.wrong


def test_stopped_directly_while_nobody_tells_the_gateway(pair: Mesh, linear: Linear) -> None:
    """The supervisor looks for itself: a replica that the gateway still uses goes on serving. 0 failed calls."""
    stub = supervisor(pair)
    with Steady(pair, linear).blowing() as tally:
        stub.Start(StartRequest(name="inference"), timeout=UP_S)
        kill(pair, "scaling", signal.SIGSTOP)
        stopping = stub.Stop.future(StopRequest(name="inference-2"), timeout=UP_S)
        time.sleep(2 * SETTLE_S)
        serving = process(pair, "inference-2")
        assert (serving.state, serving.pid > 0) == (ProcessState.PROCESS_STATE_DRAINING, True)
        assert "inference-2" in used(pair)
        kill(pair, "scaling", signal.SIGCONT)
        (stopped,) = stopping.result().processes
        assert stopped.last_exit == "exit code 0"
        assert used(pair) == set(BOTH)
    assert not tally.errors
    assert not tally.wrong


@pytest.mark.slow
def test_stopped_directly_while_scaling_is_stalled(pair: Mesh, linear: Linear) -> None:
    """Nobody takes the replica out: the supervisor gives up waiting, and the gateway tries its calls elsewhere."""
    stub = supervisor(pair)
    with Steady(pair, linear).blowing() as tally:
        stub.Start(StartRequest(name="inference"), timeout=UP_S)
        kill(pair, "scaling", signal.SIGSTOP)
        (stopped,) = stub.Stop(StopRequest(name="inference-2"), timeout=UP_S).processes
        assert stopped.last_exit == "exit code 0"
        kill(pair, "scaling", signal.SIGCONT)
        eventually(lambda: used(pair) == set(BOTH), "the replica is taken out", UP_S)
    assert not tally.errors
    assert not tally.wrong


def test_stop_goes_on_without_its_caller(pair: Mesh) -> None:
    """Who asks for a stop and dies leaves no replica half-way."""
    stub = supervisor(pair)
    stub.Start(StartRequest(name="inference"), timeout=UP_S)
    asked = stub.Stop.future(StopRequest(name="inference-2"), timeout=UP_S)
    draining, stopped = ProcessState.PROCESS_STATE_DRAINING, ProcessState.PROCESS_STATE_STOPPED
    eventually(lambda: process(pair, "inference-2").state == draining, "the stop has begun", UP_S)
    asked.cancel()
    eventually(lambda: process(pair, "inference-2").state == stopped, "the stop has ended", UP_S)
    assert process(pair, "inference-2").last_exit == "exit code 0"


def test_drained_is_not_listed_again(pair: Mesh) -> None:
    """A scaling that starts while a replica drains does not list it, although it runs."""
    stub = supervisor(pair)
    stub.Start(StartRequest(name="inference"), timeout=UP_S)
    stub.Drain(DrainRequest(name="inference-2"), timeout=UP_S)
    killed_and_back(pair)
    assert used(pair) == set(BOTH)
    stub.Stop(StopRequest(name="inference-2"), timeout=UP_S)
