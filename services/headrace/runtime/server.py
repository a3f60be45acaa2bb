"""The grpc.aio server that every service has: health, reflection, drain."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.runtime.boundary import Boundary
from headrace.runtime.health import Health
from headrace.runtime.reflecting import add_reflection
from headrace.runtime.rpc import Method
from headrace.runtime.start import StartFailed

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

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

    def __init__(self, health: Health) -> None:
        self._health = health
        self.address = ""

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Answers health checks with SERVING inside the block, with NOT_SERVING behind it.

        The last thing that a service enters, and so the first that it leaves: who
        asks hears of the end before anything ends.
        """
        self._health.begin()
        try:
            yield
        finally:
            self._health.end()

    async def tell_services(self, *, ready: bool) -> None:
        """Whether the services can take work; the health of "", whether the process lives, stays as it is."""
        self._health.tell_services(ready=ready)


@asynccontextmanager
async def serving(
    methods: Sequence[Method], boundary: Boundary, settings: ServerSettings
) -> AsyncIterator[Server]:
    """Serves `methods` with health and reflection; ready inside `Server.ready`.

    On exit: no new calls, the running ones within the grace. A call that comes
    in that millisecond on an open connection is ended by grpcio, as CANCELLED.
    Raises `ListenError`.
    """
    grpc_server = grpc.aio.server(options=_options(settings))
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
    for method in methods:
        _, service, name = method.path.split("/")
        services[service][name] = boundary.bind(method)
    for service, handlers in services.items():
        grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    health = Health(tuple(services))
    health_pb2_grpc.add_HealthServicer_to_server(health, grpc_server)
    add_reflection(grpc_server, (*services, HEALTH))
    server = Server(health)
    server.address = _listen(grpc_server, settings)
    await grpc_server.start()
    if settings.socket:
        settings.socket.chmod(0o600)
    try:
        yield server
    finally:
        health.end()  # where nobody got as far as `ready`, a Watch must end too
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
