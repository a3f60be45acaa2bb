"""The replicas of one machine: the supervisor starts and stops them, the directory tells the gateway."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Protocol

import grpc
import structlog

from headrace.local.client import ProcessInfo, reason_of
from headrace.runtime.errors import HeadraceError
from headrace.scaling.directory import Directory
from headrace.scaling.errors import replica_not_found, replica_state, start_failed, supervisor_lost
from headrace.scaling.fleet import Replica, ReplicaState
from headrace.scaling.metrics import EndpointMetrics

SERVICE = "inference"

SETTLE_S = 1.0
"""How long a replica still serves after every gateway has let go of it."""

RECONNECT_S = 0.2

STATES = {
    "STARTING": ReplicaState.STARTING,
    "HEALTHY": ReplicaState.SERVING,
    # Whether one that misses our health check still gets traffic is for the gateway's own checks to say.
    "UNHEALTHY": ReplicaState.SERVING,
    "BACKOFF": ReplicaState.STARTING,
    "DRAINING": ReplicaState.DRAINING,
    "STOPPED": ReplicaState.STOPPED,
}

log = structlog.get_logger()


class Owner(Protocol):
    """Who starts and stops the processes: the supervisor, by its client. Every method raises `grpc.aio.AioRpcError`."""

    async def processes(self) -> list[ProcessInfo]:
        """All of them."""
        ...

    def watch(self) -> AsyncGenerator[list[ProcessInfo]]:
        """All of them, and again at each change."""
        ...

    async def start(self, name: str) -> ProcessInfo:
        """One more of a service."""
        ...

    async def stop(self, name: str) -> None:
        """Ends one."""
        ...


class LocalFleet:
    """The Fleet of one machine (see `fleet.Fleet`)."""

    def __init__(self, supervisor: Owner, directory: Directory, *, settle_s: float = SETTLE_S) -> None:
        self._supervisor = supervisor
        self._directory = directory
        self._settle_s = settle_s

    async def replicas(self) -> Sequence[Replica]:
        with _translated(""):
            return replicas_in(await self._supervisor.processes())

    async def start(self) -> Replica:
        with _translated(""):
            started = await self._supervisor.start(SERVICE)
        await self._look()
        await self._directory.acknowledged()
        (replica,) = replicas_in([started])
        return replica

    async def stop(self, name: str) -> None:
        try:
            with self._directory.without(name):
                await self._directory.acknowledged()
                await asyncio.sleep(self._settle_s)
                with _translated(name):
                    await self._supervisor.stop(name)
        finally:  # one that could not be stopped is listed again
            with suppress(HeadraceError):
                await self._look()

    async def _look(self) -> None:
        """Asks what runs now, rather than waiting for the news of it."""
        self._directory.see(await self.replicas())


async def follow(supervisor: Owner, directory: Directory, metrics: EndpointMetrics) -> None:
    """Hands the directory whatever the supervisor tells, until it is cancelled; without it, the last word holds."""
    while True:
        try:
            async with aclosing(supervisor.watch()) as watch:
                async for processes in watch:
                    directory.see(replicas_in(processes))
        except grpc.aio.AioRpcError as error:
            metrics.supervisor_losses.inc()
            log.warning("the supervisor is out of reach", error=error.code().name)
        await asyncio.sleep(RECONNECT_S)


def replicas_in(processes: Sequence[ProcessInfo]) -> list[Replica]:
    """The replicas among the processes."""
    return [
        Replica(one.name, STATES[one.state], one.address, one.hot_socket, one.grpc_socket)
        for one in processes
        if one.service == SERVICE and one.state in STATES
    ]


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """The supervisor's refusals as scaling's; without its own reason it was not reached."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        match reason_of(error):
            case "PROCESS_NOT_FOUND":
                raise replica_not_found(name) from None
            case "PROCESS_STATE":
                raise replica_state(name) from None
            case "START_FAILED":
                raise start_failed(error.details() or "") from None
        raise supervisor_lost(error.code().name) from None
