"""Whether a process answers: gRPC health, Envoy's admin socket, Valkey's PING."""

import asyncio
from pathlib import Path
from typing import Protocol

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.local.core.quiet import Activity

TIMEOUT_S = 2.0
_COUNTED = ("cx_active", "rq_active", "rq_total")
"""Envoy's names of what `Activity` has, in its order."""


class Probe(Protocol):
    """Asks a process whether it can take work."""

    async def ready(self) -> bool:
        """True when it says so within `TIMEOUT_S`."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class HealthProbe:
    """`grpc.health.v1.Health/Check` of the whole server at `host:port`."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 100),
                # Channels of one target share connections, and so their back-off, otherwise.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._stub = health_pb2_grpc.HealthStub(self._channel)

    async def ready(self) -> bool:
        try:
            answer = await self._stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        await self._channel.close(None)


class EnvoyAdmin:
    """Envoy's admin interface on its Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ready(self) -> bool:
        status, _ = await self._ask("GET", "/ready")
        return status == 200

    async def close(self) -> None:
        """Each question has a connection of its own."""

    async def hosts(self) -> dict[str, bool] | None:
        """Upstream addresses and whether each is healthy; None when Envoy does not answer."""
        status, body = await self._ask("GET", "/clusters")
        if status != 200:
            return None
        found: dict[str, bool] = {}
        for line in body.splitlines():
            parts = line.split("::")
            if len(parts) == 4 and parts[2] == "health_flags":
                found[parts[1]] = found.get(parts[1], True) and parts[3] == "healthy"
        return found

    async def close_listeners(self) -> None:
        """Envoy takes no new connections from now on; each open one gets its answers, and a GOAWAY with the next.

        Without the failed health check, open connections would go on as if
        nothing was to come, and be cut under whatever is asked on them last.
        """
        await self._ask("POST", "/healthcheck/fail")
        await self._ask("POST", "/drain_listeners")

    async def activity(self) -> Activity:
        """What clients have of it now; nothing when Envoy does not answer."""
        status, body = await self._ask(
            "GET", f"/stats?filter=^http\\..*\\.downstream_({'|'.join(_COUNTED)})$"
        )
        found = dict.fromkeys(_COUNTED, 0)
        for line in body.splitlines() if status == 200 else ():
            name, _, value = line.rpartition(":")
            # The admin interface counts the request that asks, and is no client's.
            if not name.startswith(("http.admin.", "http.async-client")):
                found[name.rpartition(".downstream_")[2]] += int(value)
        return Activity(*found.values())

    async def _ask(self, method: str, path: str) -> tuple[int, str]:
        """HTTP status (0: no answer) and body."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(
                        f"{method} {path} HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n".encode()
                    )
                    return _parsed(await reader.read(-1))
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return 0, ""


class ValkeyProbe:
    """PING of the server at `host:port`, as `user`."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._question = f"AUTH {user} {password}\r\nPING\r\n".encode()

    async def ready(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                try:
                    writer.write(self._question)
                    return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except (OSError, TimeoutError, ValueError):  # ValueError: a line without end, from a stranger
            return False

    async def close(self) -> None:
        """Each question has a connection of its own."""


def _parsed(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not status:
        return 0, ""
    if b"transfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return int(status[0]), body.decode(errors="replace")


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)
