"""The replicas of a mesh as the gateway uses them, and those who come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from headrace.local.statedir import StateDir
from headrace.local.v1.process_pb2 import Process, ProcessState
from headrace.local.v1.supervisor_service_pb2 import ListRequest, StartRequest, StopRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from headrace.scaling.app import Running, build
from headrace.scaling.policy_settings import PolicySettings
from headrace.scaling.settings import Settings
from tests.support.mesh import CALL_TIMEOUT_S, Mesh
from tests.support.waiting import eventually

T = TypeVar("T")
UP_S = 60.0
HOT, GRPC = "inference-hot", "inference-grpc"


def supervisor(mesh: Mesh) -> SupervisorServiceStub:
    """The supervisor at its socket."""
    return SupervisorServiceStub(grpc.insecure_channel(f"unix:{mesh.state_dir}/run/supervisor.sock"))


def process(mesh: Mesh, name: str) -> Process:
    """What the supervisor says of one process."""
    listed = supervisor(mesh).List(ListRequest(), timeout=CALL_TIMEOUT_S).processes
    return next(one for one in listed if one.name == name)


def used(mesh: Mesh, cluster: str = HOT) -> set[str]:
    """The replicas that Envoy has in a cluster and finds healthy."""
    lines = [line.split("::") for line in mesh.envoy_admin("/clusters").splitlines()]
    return {
        parts[1].rpartition("/")[2].partition(".")[0]
        for parts in lines
        if parts[0] == cluster and parts[2:] == ["health_flags", "healthy"]
    }


def changes(mesh: Mesh) -> int:
    """How often the replicas of the gateway have changed."""
    return _stat(mesh, "cluster.inference-hot.membership_change")


def streams(mesh: Mesh) -> int:
    """How many streams the gateway has open to scaling: one for each of two clusters."""
    return _stat(mesh, "cluster.scaling.upstream_rq_active")


def _stat(mesh: Mesh, name: str) -> int:
    return mesh.envoy_stats(name)[name]


def listening(mesh: Mesh) -> bool:
    """Whether scaling is healthy and the gateway is connected to it."""
    healthy = process(mesh, "scaling").state == ProcessState.PROCESS_STATE_HEALTHY
    return healthy and streams(mesh) == 2


def again(mesh: Mesh, name: str, before: int) -> None:
    """Waits until the process is another one than `before`, and healthy."""

    def back() -> bool:
        found = process(mesh, name)
        return found.pid not in (0, before) and found.state == ProcessState.PROCESS_STATE_HEALTHY

    eventually(back, f"another {name}", UP_S)


def until_listening(mesh: Mesh) -> None:
    """Waits for `listening`."""
    eventually(lambda: listening(mesh), "the gateway listens to scaling", UP_S)


def until_used(mesh: Mesh, *names: str) -> None:
    """Waits until Envoy uses exactly these replicas."""
    wanted = set(names)
    eventually(lambda: used(mesh) == used(mesh, GRPC) == wanted, f"Envoy uses {sorted(wanted)}", UP_S)


@asynccontextmanager
async def scaling_here(mesh: Mesh) -> AsyncIterator[Running]:
    """A scaling in this process in the place of the mesh's own, which comes back afterwards."""
    state, stub = StateDir(mesh.state_dir), supervisor(mesh)
    await in_a_thread(lambda: stub.Stop(StopRequest(name="scaling"), timeout=UP_S))
    settings = Settings(
        listen="127.0.0.1:0",
        metrics_listen="",
        socket=state.socket("scaling"),
        jwks=state.jwks,
        supervisor=f"unix:{state.supervisor_socket}",
        store=state.scaling,
        endpoints=state.run / "endpoints.json",
        policy=PolicySettings(auto=False),  # only the test itself changes the number
    )
    try:
        async with build(settings) as running:
            yield running
    finally:
        await in_a_thread(lambda: stub.Start(StartRequest(name="scaling"), timeout=UP_S))


async def in_a_thread(call: Callable[[], T]) -> T:
    """Waits for what blocks, while the loop goes on."""
    return await asyncio.to_thread(call)
