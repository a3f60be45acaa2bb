"""The echo process behind a real Envoy with the gateway's settings of the hot path."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.ingress.echo import GRPC, HOT, SEEN
from tests.support.cache import ROOT

START_TIMEOUT_S = 30.0
TYPES = "type.googleapis.com/envoy.extensions"
# The test's stand-in for a token: Envoy makes the identity header of it, as jwt_authn does of a claim.
TENANT = "x-test-tenant"

UPSTREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "h1": (HOT, {"http_protocol_options": {"enable_trailers": True}}),
    "h2": (GRPC, {"http2_protocol_options": {}}),
}
"""The echo's socket and Envoy's protocol to it, for each hot path."""


@dataclass(frozen=True)
class Edge:
    """An Envoy's port, the echo's process behind it, and its folder."""

    hot_path: str
    port: int
    folder: Path
    echo_pid: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def hot(self) -> Path:
        return self.folder / HOT

    async def cancelled(self, name: str) -> None:
        """Returns when the handler of request `name` was cancelled."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while not (self.folder / SEEN / name).exists():  # noqa: ASYNC110  # another process's doing
                await asyncio.sleep(0.02)


@contextmanager
def edge(hot_path: str, *, strip_trailers: bool = True) -> Iterator[Edge]:
    """Echo and Envoy, stopped at the end. `hot_path` is h1 or h2, as in the gateway."""
    folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))  # socket paths are short
    (folder / SEEN).mkdir()
    try:
        with _echo(folder) as echo, _envoy(folder, hot_path, strip_trailers=strip_trailers) as port:
            yield Edge(hot_path, port, folder, echo.pid)
    finally:
        shutil.rmtree(folder)


def wait_until(path: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when `path` is there; fails with the log when the process ends or time is over."""
    until = time.monotonic() + START_TIMEOUT_S
    while not path.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"{path.name} never came:\n{log.read_text()[-4000:]}")
        time.sleep(0.02)


@contextmanager
def _echo(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-W", "error", "-m", "tests.contract.ingress.echo", str(folder)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/services:{ROOT}"}
    with _process(command, folder / "echo.log", env) as process:
        wait_until(folder / "ready", process, folder / "echo.log")
        yield process


@contextmanager
def _envoy(folder: Path, hot_path: str, *, strip_trailers: bool) -> Iterator[int]:
    port = _free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(_config(port, folder, hot_path, strip_trailers=strip_trailers)))
    binary = Path(sys.executable).with_name("envoy")
    command = [str(binary), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with _process(command, folder / "envoy.log", dict(os.environ)) as process:
        until = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            time.sleep(0.02)
        else:
            raise AssertionError((folder / "envoy.log").read_text())
        yield port


@contextmanager
def _process(command: list[str], log: Path, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=env, cwd=ROOT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _config(port: int, folder: Path, hot_path: str, *, strip_trailers: bool) -> dict[str, Any]:
    listener = {
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": _manager(strip_trailers)}]}],
    }
    name, protocol = UPSTREAMS[hot_path]
    return {"static_resources": {"listeners": [listener], "clusters": [_cluster(folder / name, protocol)]}}


def _manager(strip_trailers: bool) -> dict[str, Any]:
    route = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": "hot",
            "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "30s", "grpc_timeout_header_max": "30s"},
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 2},
        },
    }
    mutations = _mutations(strip_trailers)
    return {
        "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_protocol_options": {"enable_trailers": True},
        "http_filters": [
            _filter("header_mutation", "header_mutation.v3.HeaderMutation", mutations=mutations),
            _filter("router", "router.v3.Router"),
        ],
    }


def _cluster(pipe: Path, protocol: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(pipe)}}}}
    plenty = {"max_requests": 100_000, "max_pending_requests": 100_000, "max_connections": 10_000}
    return {
        "name": "hot",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol,
            }
        },
        "circuit_breakers": {"thresholds": [plenty]},
        "load_assignment": {"cluster_name": "hot", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _filter(name: str, kind: str, **config: Any) -> dict[str, Any]:
    typed = {"@type": f"{TYPES}.filters.http.{kind}", **config}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _mutations(strip_trailers: bool) -> dict[str, Any]:
    def strip(prefix: str) -> dict[str, Any]:
        return {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}

    def add(name: str, value: str) -> dict[str, Any]:
        return {"append": {"header": {"key": name, "value": value}}}

    requests = [strip("x-tenant-id"), strip("x-headrace-")]
    requests += [add("x-tenant-id", f"%REQ({TENANT})%"), add("x-headrace-scopes", "infer")]
    every = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}}
    return {
        "request_mutations": requests,
        **({"request_trailers_mutations": [every]} if strip_trailers else {}),
    }
