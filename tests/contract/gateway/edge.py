"""A real Envoy with the configuration that we ship, in front of a `Replica`."""

import asyncio
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from pathlib import Path

import grpc
import httpx

from headrace.local.endpoints import GRPC, HOT, Endpoint, write_files
from headrace.local.gateway import GatewaySettings, command, write
from headrace.local.jwks import serving_jwks
from headrace.local.keys import KeyStore
from headrace.runtime.clock import SystemClock
from tests.contract.gateway.replica import Grpc, Loop, Replica
from tests.support.waiting import eventually

ENVOY = Path(sys.executable).with_name("envoy")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Spares each client reading the system's certificates, 40 ms: nothing here speaks TLS."""

INFER = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Edge:
    """A gateway that answers, and what stands behind it."""

    address: str
    settings: GatewaySettings
    endpoints: list[Endpoint]
    replica: Replica
    grpc_side: Grpc
    keys: KeyStore
    token: str

    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://{self.address}", timeout=10, verify=NO_TLS)

    def channel(self) -> grpc.Channel:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        return grpc.insecure_channel(self.address, options)

    def admin(self, path: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.settings.admin_socket))
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n".encode())
            with HTTPResponse(connection) as answer:
                answer.begin()
                return answer.read().decode()

    def stats(self, pattern: str) -> dict[str, int]:
        lines = self.admin(f"/stats?filter={pattern}").splitlines()
        pairs = (line.rsplit(": ", 1) for line in lines)
        return {name: int(value) for name, value in pairs if value.isdigit()}


def raw(channel: grpc.Channel, path: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    """A method that takes and gives bytes."""
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def infer(edge: Edge, message: bytes = b"hello", timeout: float = 5.0, path: str = INFER) -> grpc.StatusCode:
    """One call on a connection of its own: its code."""
    with edge.channel() as channel:
        try:
            raw(channel, path)(message, metadata=tuple(edge.bearer().items()), timeout=timeout)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


@contextmanager
def edge_of(settings: GatewaySettings) -> Iterator[Edge]:
    """A gateway; not in pytest's own directory, whose paths are too long for a socket."""
    with (
        tempfile.TemporaryDirectory(prefix="edge") as directory,
        running_edge(Path(directory), settings) as edge,
    ):
        yield edge


@contextmanager
def running_edge(directory: Path, base: GatewaySettings) -> Iterator[Edge]:
    """The gateway with tokens, a collector, and two replicas that are one object, in `directory`."""
    run_dir = directory / "run"
    run_dir.mkdir(mode=0o700)
    settings = replace(base, run_dir=run_dir, config_dir=directory / "envoy", port=0, endpoints_from="files")
    keys = KeyStore(directory / "keys", clock=SystemClock())
    token = keys.issue("acme", ["infer", "observe"], 3600)
    replica, grpc_side = Replica(), Grpc()
    hot = settings.hot_path == "h1"
    endpoints = [
        Endpoint(name, run_dir / f"{name}.hot.sock" if hot else None, run_dir / f"{name}.grpc.sock")
        for name in ("inference-0", "inference-1")
    ]
    with ExitStack() as stack:
        loop = Loop()
        stack.callback(loop.close)
        jwks = serving_jwks(settings.jwks_socket, keys.jwks)
        loop.run(jwks.__aenter__())
        stack.callback(lambda: loop.run(jwks.__aexit__(None, None, None)))
        for endpoint in endpoints:
            if endpoint.hot_socket:
                stack.callback(_close, loop, loop.run(_listening(replica, endpoint.hot_socket)))
            stack.callback(_stop, grpc_side.replica(endpoint.grpc_socket))
        stack.callback(_stop, grpc_side.insight(settings.insight_socket))
        write(settings)
        write_files(settings.config_dir, endpoints, "1")
        log = stack.enter_context((directory / "envoy.log").open("wb"))
        process = subprocess.Popen(command(ENVOY, settings), stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.kill)
        edge = Edge("", settings, endpoints, replica, grpc_side, keys, token.text)
        yield replace(edge, address=_address(edge, process, directory / "envoy.log"))


def _address(edge: Edge, process: subprocess.Popen[bytes], log: Path) -> str:
    wanted = {HOT, GRPC} if edge.settings.hot_path == "h1" else {GRPC}

    def ready() -> str | None:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            clusters = edge.admin("/clusters").splitlines()
            listeners = edge.admin("/listeners").split("::")
            healthy = {line.split("::")[0] for line in clusters if line.endswith("health_flags::healthy")}
            if len(listeners) < 2 or not wanted <= healthy:
                return None
            # Listed is not yet listening: that waits for the first JWKS.
            host, _, port = listeners[1].strip().rpartition(":")
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return None
        return listeners[1].strip()

    return eventually(ready, "Envoy answers and its replicas are healthy")


def _close(loop: Loop, server: asyncio.Server) -> None:
    loop.run(_closed(server))


def _stop(server: grpc.Server) -> None:
    server.stop(0).wait()


async def _listening(replica: Replica, path: Path) -> asyncio.Server:
    return await asyncio.start_unix_server(replica.connected, path, limit=1 << 20, backlog=4096)


async def _closed(server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)
