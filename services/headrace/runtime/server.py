"""The grpc.aio server that every service has: health, reflection, drain."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from headrace.runtime.boundary import Boundary
from headrace.runtime.reflecting import add_reflection
from headrace.runtime.rpc import Method
from headrace.runtime.start import StartFailed

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

SOCKET_PATH_BYTES = 107
"""What Linux's sockaddr_un holds besides the final zero."""


class ListenError(StartFailed):
    """An address that can't be listened on; the text says which and why."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a service listens and what it takes.

    `listen` is `host:port`, port 0 for a free one. `socket` is a Unix socket
    for peers that are trusted with identity (see `boundary.TokenIdentity`).
    """

    listen: str
    socket: Path | None = None
    max_message_bytes: int = 64 * 1024 * 1024
    grace_s: float = 5.0


class Server:
    """A running server: its address, and whether it tells to be ready."""

    def __init__(self, server: grpc.aio.Server, health: HealthServicer, names: Sequence[str]) -> None:
        self._server = server
        self._health = health
        self._names = ("", *names)
        self.address = ""

    async def tell(self, *, ready: bool) -> None:
        """Answers health checks with SERVING or NOT_SERVING from now on."""
        await self._tell(self._names, ready=ready)

    async def tell_services(self, *, ready: bool) -> None:
        """The same of each service; the health of "", whether the process lives, stays as it is."""
        await self._tell(self._names[1:], ready=ready)

    async def _tell(self, names: Sequence[str], *, ready: bool) -> None:
        for name in names:
            await self._health.set(name, SERVING if ready else NOT_SERVING)


@asynccontextmanager
async def serving(
    methods: Sequence[Method], boundary: Boundary, settings: ServerSettings
) -> AsyncIterator[Server]:
    """Serves `methods` with health and reflection; not ready until told.

    On exit: NOT_SERVING, no new calls, the running ones within the grace.
    Raises `ListenError`.
    """
    grpc_server = grpc.aio.server(options=_options(settings))
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
    for method in methods:
        _, service, name = method.path.split("/")
        services[service][name] = boundary.bind(method)
    for service, handlers in services.items():
        grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, grpc_server)
    add_reflection(grpc_server, (*services, HEALTH))
    server = Server(grpc_server, health, tuple(services))
    await server.tell(ready=False)
    server.address = _listen(grpc_server, settings)
    await grpc_server.start()
    if settings.socket:
        settings.socket.chmod(0o600)
    try:
        yield server
    finally:
        await server.tell(ready=False)
        await grpc_server.stop(settings.grace_s)


def check_socket_path(path: Path) -> None:
    """Raises `ListenError` for a path that the kernel would cut off."""
    size = len(bytes(path.absolute()))
    if size > SOCKET_PATH_BYTES:
        raise ListenError(f"socket path {path} has {size} bytes; the system takes {SOCKET_PATH_BYTES}")


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> str:
    host, _, port = settings.listen.rpartition(":")
    try:
        bound = server.add_insecure_port(settings.listen)
    except RuntimeError:
        raise ListenError(f"can't listen on {settings.listen}: is the port taken?") from None
    if settings.socket:
        check_socket_path(settings.socket)
        settings.socket.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{settings.socket}")
    return f"{host}:{bound if port == '0' else port}"


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_metadata_size", 64 * 1024),
        # Two servers on one port would share its connections in silence.
        ("grpc.so_reuseport", 0),
    ]
