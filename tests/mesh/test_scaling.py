"""G: replicas come and go, by an operator's word and by themselves, and nobody notices."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.local.v1.supervisor_service_pb2 import StopRequest
from tests.conftest import MeshOf
from tests.mesh.test_supervisor_replicas import supervisor
from tests.support.commands import CommandFailed
from tests.support.mesh import Mesh
from tests.support.scaled import AUTO, crowd, pool_that, scale, scaled, under_load
from tests.support.waiting import eventually

pytestmark = [pytest.mark.mesh, pytest.mark.timeout(300)]

REPLICA_S = 60.0
"""A replica loads its models within this, on a machine that runs other tests meanwhile."""


@pytest.fixture(scope="module")
def auto(mesh_of: MeshOf) -> Mesh:
    """A mesh whose policy has its time compressed; only this module's tests use it."""
    return mesh_of(AUTO)


@pytest.fixture
def pinned(auto: Mesh) -> Iterator[Mesh]:
    """The mesh with one replica that an operator asked for."""
    scale(auto, "set", "1")
    yield auto
    scale(auto, "set", "1")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that does nothing for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def refusals(mesh: Mesh) -> dict[str, int]:
    """Answers with another grpc-status than 0, as the gateway counted them on the hot path."""
    counted = mesh.envoy_stats(r"^cluster\.inference-hot\.grpc\.\d+$")
    return {
        name.rpartition(".")[2]: value for name, value in counted.items() if not name.endswith(".0") and value
    }


def weight(pid: int) -> str:
    """The nice value of a process's session; 0 where the kernel has none."""
    file = Path(f"/proc/{pid}/autogroup")
    return file.read_text().split()[-1] if file.exists() else "0"


def another_scaling(mesh: Mesh, pid: int) -> bool:
    """Whether scaling runs, as another process than `pid`."""
    (one,) = [one for one in mesh.status()["processes"] if one["service"] == "scaling"]
    return bool(one["healthy"] and one["pid"] != pid)


async def come_and_go(mesh: Mesh, high: int) -> None:
    """Up to `high` replicas and back to one, at 80 % of what one answers: every grpc-status is 0."""
    before = refusals(mesh)
    async with under_load(mesh, 0.8) as record:
        await asyncio.sleep(2.0)
        (pool,) = (await scaled(mesh, "set", str(high)))["pools"]
        assert (pool["current"], pool["desired"]) == (high, high)
        assert len(mesh.pids("inference")) == high
        assert {weight(pid) for pid in mesh.pids("inference")} == {"0"}  # little only while they came
        await asyncio.sleep(1.0)
        (pool,) = (await scaled(mesh, "set", "1"))["pools"]
        assert (pool["current"], pool["desired"]) == (1, 1)
        await asyncio.sleep(1.0)
    assert record.failures == {}
    assert refusals(mesh) == before
    assert len(record.calls) > 100
    running = [one for one in mesh.status()["processes"] if one["service"] == "inference" and one["pid"]]
    assert len(running) == 1


async def test_three_and_then_one_under_load_fail_nobody(pinned: Mesh) -> None:
    """Every call is answered, by the clients' count and by the gateway's; really three processes, really one."""
    await come_and_go(pinned, 3)


@pytest.mark.slow
async def test_many_times_under_load_fail_nobody(pinned: Mesh) -> None:
    """Ten times up and down."""
    for _ in range(10):
        await come_and_go(pinned, 3)


async def test_a_load_scales_up_by_itself_and_down_when_it_is_over(pinned: Mesh) -> None:
    """Two thresholds are crossed: one more; all is quiet: one less. The history tells from which signals."""
    await scaled(pinned, "auto")
    async with crowd(pinned, 32) as load:
        await pool_that(pinned, lambda pool: pool["current"] >= 2, REPLICA_S)
    assert load.record.failures == {}
    await pool_that(pinned, lambda pool: pool["current"] == 1 and not pool["changing"], REPLICA_S)
    history = scale(pinned, "history")["decisions"]
    (down, *_) = [one for one in history if one["cause"] == "idle"]
    assert (down["action"], down["before"] - down["after"]) == ("down", 1)
    assert all(signal["under"] for signal in down["signals"] if signal["down"] is not None)
    assert {signal["signal"] for signal in down["signals"]} >= {"cpu", "memory", "response_s", "queue"}
    (up, *_) = [one for one in history if one["cause"] == "overloaded"]
    assert (up["action"], up["after"] - up["before"]) == ("up", 1)
    assert sum(signal["over"] for signal in up["signals"]) >= 2


async def test_a_replica_that_does_not_report_keeps_all(pinned: Mesh) -> None:
    """Idle, and one of two is stopped: no replica goes for as long; then one does."""
    await scaled(pinned, "set", "2")
    (pid,) = [one["pid"] for one in pinned.status()["processes"] if one["name"] == "inference-1"]
    with stopped(pid):
        await scaled(pinned, "auto")
        pool = await pool_that(pinned, lambda pool: pool["last_decision"]["cause"] == "no_data", REPLICA_S)
        await asyncio.sleep(5.5)  # longer than the window and the cooldown together
        pool = await pool_that(pinned, lambda pool: True, REPLICA_S)
        assert (pool["desired"], pool["last_decision"]["cause"]) == (2, "no_data")
        assert "inference-1" in pool["last_decision"]["stale"]
    await pool_that(pinned, lambda pool: pool["current"] == 1, REPLICA_S)


async def test_the_number_survives_a_killed_scaling(pinned: Mesh) -> None:
    """kill -9 of scaling: the next one holds the operator's number, and nothing comes or goes meanwhile."""
    await scaled(pinned, "set", "2")
    replicas = pinned.pids("inference")
    (pid,) = pinned.pids("scaling")
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(eventually, lambda: another_scaling(pinned, pid), "another scaling", REPLICA_S)
    pool = await pool_that(pinned, lambda pool: pool["last_decision"] is not None, REPLICA_S)
    assert (pool["desired"], pool["current"], pool["mode"]) == (2, 2, "pinned")
    assert pinned.pids("inference") == replicas
    assert scale(pinned, "history")["decisions"][0]["cause"] == "pinned"


async def test_a_replica_that_somebody_stopped_is_replaced(pinned: Mesh) -> None:
    """The number is what runs, not what was started: whoever stops one gets another."""
    await scaled(pinned, "set", "2")
    stub = supervisor(pinned)
    await asyncio.to_thread(lambda: stub.Stop(StopRequest(name="inference-0"), timeout=REPLICA_S))
    await pool_that(pinned, lambda pool: pool["current"] == 2 and not pool["changing"], REPLICA_S)


def test_a_number_out_of_bounds_is_refused(pinned: Mesh) -> None:
    """The command fails and says what is allowed; nothing changes."""
    with pytest.raises(CommandFailed, match="between 1 and 3"):
        scale(pinned, "set", "4")
    (pool,) = scale(pinned, "status")["pools"]
    assert pool["desired"] == 1
