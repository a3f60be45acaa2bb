"""What the supervisor asks of the running gateway: which replicas it uses, and whether its clients are done."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from headrace.local.core.quiet import Quiet
from headrace.local.endpoints import Endpoint
from headrace.local.probes import EnvoyAdmin
from headrace.runtime.clock import Clock

ACKNOWLEDGE_S = 10.0
"""How long Envoy is given to take new endpoints, and scaling, which tells it, to come back if it is away."""

SETTLE_S = 1.0
"""How long a replica still serves after Envoy has let go of it."""

QUIET_S = 0.5
"""How long connections that stay open have to be silent before the gateway goes."""

FINISH_S = 10.0
"""How long clients are waited for when the whole mesh goes."""

POLL_S = 0.05


class Edge:
    """The gateway, by its admin socket. `serves` says whether there is one to wait for.

    Scaling tells the gateway its endpoints. It is asked all the same before a
    replica ends: what it uses is what counts, whoever told it, and a scaling
    that is gone or wrong must cost no request.
    """

    def __init__(self, admin: Path, serves: Callable[[], bool], clock: Clock) -> None:
        self.probe = EnvoyAdmin(admin)
        self._serves = serves
        self._clock = clock

    async def used(self, replicas: Callable[[], Sequence[Endpoint]]) -> None:
        """Waits until each of the replicas is among Envoy's hosts and healthy."""
        await self._until(lambda hosts: all(map(hosts.get, _sockets(replicas()))))

    async def let_go(self, replica: Endpoint) -> None:
        """Waits until the replica is not among Envoy's hosts any more."""
        await self._until(lambda hosts: hosts.keys().isdisjoint(_sockets([replica])))

    async def finished(self) -> None:
        """Closes the door, and waits for those inside."""
        await self.probe.close_listeners()
        quiet = Quiet(QUIET_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                while not quiet.over(await self.probe.activity(), self._clock.monotonic()):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_S)  # Envoy tells nobody

    async def _until(self, holds: Callable[[dict[str, bool]], bool]) -> None:
        """Waits until it holds for Envoy's hosts (address: healthy).

        Gives up after `ACKNOWLEDGE_S`: Envoy does not answer, nobody tells it,
        or a host stays unhealthy, which its own checks go on watching.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ACKNOWLEDGE_S):
                while True:
                    hosts = await self.probe.hosts()
                    if holds(hosts) if hosts is not None else not self._serves():
                        return
                    await asyncio.sleep(POLL_S)


def _sockets(replicas: Sequence[Endpoint]) -> list[str]:
    return [
        str(socket)
        for replica in replicas
        for socket in (replica.hot_socket, replica.grpc_socket)
        if socket is not None
    ]
