"""The hot ingress as a server: its socket, its health, its end."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headrace.runtime.access import Access
from headrace.runtime.clock import Clock
from headrace.runtime.descriptors import raise_descriptor_limit
from headrace.runtime.endings import UNRECORDED, CallEnds
from headrace.runtime.errors import CodeTable
from headrace.runtime.ingress.connection import HotConnection
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.ingress.service import Service
from headrace.runtime.rpc import Method
from headrace.runtime.server import check_socket_path
from headrace.runtime.telemetry import Telemetry

_CANCELLED_TASKS_S = 1.0


class HotIngress:
    """Serves the unary and server-streaming methods of `methods` on a Unix socket.

    Its peer is Envoy: identity headers are believed, so the socket belongs in a
    directory that nobody else enters. Methods with client streaming are left to
    the grpc.aio server.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        *,
        access: Access,
        codes: CodeTable,
        telemetry: Telemetry,
        clock: Clock,
        limits: IngressLimits,
        ends: CallEnds = UNRECORDED,
    ) -> None:
        self._service = Service(
            methods,
            access=access,
            codes=codes,
            telemetry=telemetry,
            clock=clock,
            limits=limits,
            ends=ends,
        )
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def listen(self, path: Path) -> None:
        """Listens on `path`, mode 0600. Raises `ListenError` for a path that is too long."""
        check_socket_path(path)
        raise_descriptor_limit()
        service = self._service
        service.loop = asyncio.get_running_loop()
        listening = _bound(path)
        self._path = path
        # asyncio's own backlog of 100 refused 399 connections of a burst of 500.
        self._server = await service.loop.create_unix_server(
            lambda: HotConnection(service), sock=listening, backlog=service.limits.backlog
        )

    @property
    def healthy(self) -> bool:
        """What `GET /healthz` tells Envoy: 200, or 503."""
        return self._service.healthy

    def tell(self, ready: bool) -> None:  # noqa: FBT001  # one word says it
        """Tells Envoy so from now on."""
        self._service.healthy = ready

    @property
    def in_flight(self) -> int:
        """Handlers that run now."""
        return len(self._service.tasks)

    @property
    def reserved_bytes(self) -> int:
        """What requests have taken of the byte budget."""
        return self._service.budget.taken

    @property
    def waiting(self) -> int:
        """Requests that wait for the byte budget."""
        return self._service.budget.waiting

    def drain(self) -> None:
        """From now on each answer is its connection's last; still serves, new connections too."""
        self._service.draining = True

    async def close(self, grace_s: float) -> None:
        """Stops listening, finishes what is open within the grace, then refuses the rest."""
        service = self._service
        self.drain()
        if self._server is None:
            return
        self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for connection in list(service.connections):
            connection.close_idle()
        if service.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await service.empty.wait()
        for connection in list(service.connections):
            connection.shut()
        if service.tasks:
            await asyncio.wait(service.tasks, timeout=_CANCELLED_TASKS_S)


def _bound(path: Path) -> socket.socket:
    """A socket on `path` that only its owner may connect to, from its first moment on."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)  # before it listens: nobody can have connected
    except OSError:
        listening.close()
        raise
    return listening
