"""A real mesh under test: every process, started and stopped as a user would."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil

from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.insight.v1.insight_service_pb2_grpc import InsightServiceStub
from headrace.local.keys import KeyStore
from headrace.runtime.clock import SystemClock
from tests.support.cache import ROOT
from tests.support.commands import output_of, run
from tests.support.models import write_models

UP_TIMEOUT_S = 180.0
DOWN_TIMEOUT_S = 60.0
CALL_TIMEOUT_S = 30.0
TOKEN_TTL_S = 3600
MESSAGE_LIMIT = 256 * 1024 * 1024
"""Above every limit of the mesh, so that the mesh's own limits are what a test meets."""


RAISED = "limits: {rate: 1000000, burst: 1000000, concurrency: 100000, breaker: {failures: 10000}}\n"
"""Limits that one tenant doing everything that tests do does not meet."""


AS_IT_IS = "scaling: {auto: false}\n"
"""Only a test itself changes the number of replicas."""


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh differs from what `headrace up` makes by itself. `limits` and `scaling` are sections of the configuration too."""

    replicas: int = 1
    config: str = ""
    limits: str = RAISED
    scaling: str = AS_IT_IS
    env: Mapping[str, str] = field(default_factory=dict)
    models_from: Path | None = None


SMALL_LIMIT = 256 * 1024
"""Message limit of the meshes below: far under the default of 64 MiB, so that tests of it are quick."""

H2 = MeshOptions(
    config=f"""\
gateway:
  hot_path: h2
  access_log: true
  cors_origins: ["https://app.example.com"]
  limits:
    max_message_bytes: {SMALL_LIMIT}
"""
)
"""The other hot path, with the settings that are off by default."""

TWO_REPLICAS = MeshOptions(
    replicas=2,
    config=f"gateway:\n  limits:\n    max_message_bytes: {SMALL_LIMIT}\ninference: {{shared_memory: true}}\n",
)


@dataclass(frozen=True)
class Mesh:
    """A mesh that answers, and what a test needs to talk to it."""

    gateway: str
    services: Mapping[str, list[str]]
    state_dir: Path

    @property
    def url(self) -> str:
        return f"http://{self.gateway}"

    @cached_property
    def operator_token(self) -> str:
        return (self.state_dir / "operator.token").read_text().strip()

    @cached_property
    def demo_token(self) -> str:
        return (self.state_dir / "demo.token").read_text().strip()

    def token(self, tenant: str, *scopes: str) -> str:
        """A token of this mesh's own keys for any tenant."""
        return sign(self.state_dir, tenant, scopes)

    @contextmanager
    def channel(self, target: str = "") -> Iterator[grpc.Channel]:
        """A channel of its own connection to the gateway, or to `target`."""
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", MESSAGE_LIMIT),
            ("grpc.max_send_message_length", MESSAGE_LIMIT),
        ]
        with grpc.insecure_channel(target or self.gateway, options) as channel:
            yield channel

    @contextmanager
    def inference(self, target: str = "") -> Iterator[GRPCInferenceServiceStub]:
        with self.channel(target) as channel:
            yield GRPCInferenceServiceStub(channel)

    @contextmanager
    def insight(self) -> Iterator[InsightServiceStub]:
        with self.channel(self.services["insight"][0]) as channel:
            yield InsightServiceStub(channel)

    @contextmanager
    def http(self, token: str | None = None) -> Iterator[httpx.Client]:
        """An HTTP client of the gateway; `token` is sent as a bearer token."""
        headers = bearer(token)
        with httpx.Client(base_url=self.url, headers=dict(headers), timeout=CALL_TIMEOUT_S) as client:
            yield client

    def envoy_admin(self, path: str) -> str:
        """Envoy's answer on its admin socket."""
        transport = httpx.HTTPTransport(uds=str(self.state_dir / "run" / "envoy-admin.sock"))
        with httpx.Client(transport=transport, base_url="http://envoy", timeout=CALL_TIMEOUT_S) as client:
            return client.get(path).raise_for_status().text

    def envoy_stats(self, pattern: str) -> dict[str, int]:
        """Envoy's counters and gauges whose names match the pattern."""
        stats = json.loads(self.envoy_admin(f"/stats?format=json&filter={pattern}"))["stats"]
        return {stat["name"]: int(stat["value"]) for stat in stats if isinstance(stat.get("value"), int)}

    def metrics(self, address: str) -> str:
        """What a service shows to Prometheus, on the port above its own."""
        host, _, port = address.rpartition(":")
        return (
            httpx.get(f"http://{host}:{int(port) + 1}/metrics", timeout=CALL_TIMEOUT_S)
            .raise_for_status()
            .text
        )

    def status(self) -> dict[str, Any]:
        """What `headrace status --json` prints."""
        document: dict[str, Any] = json.loads(headrace("status", "--json", "--state-dir", self.state_dir))
        return document

    def pids(self, service: str) -> list[int]:
        """The processes of a service, as `headrace status` lists them."""
        listed: list[dict[str, Any]] = self.status()["processes"]
        return [int(one["pid"]) for one in listed if one["service"] == service]


def raw(channel: grpc.Channel, path: str) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
    """A method by its path alone, bytes in and bytes out."""
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """The header of a token, as gRPC metadata; nothing for None."""
    return () if token is None else (("authorization", f"Bearer {token}"),)


def sign(state_dir: Path, tenant: str, scopes: tuple[str, ...]) -> str:
    """A token signed with the keys of a mesh."""
    return KeyStore(state_dir / "keys", clock=SystemClock()).issue(tenant, scopes, TOKEN_TTL_S).text


def headrace(*arguments: str | Path, env: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> str:
    """What the command prints; raises CommandFailed when it fails."""
    return output_of(headrace_command(*arguments), env=environment(env or {}), timeout_s=timeout_s, cwd=ROOT)


def headrace_command(*arguments: str | Path) -> list[str | Path]:
    """The command, run by the interpreter that runs the tests."""
    return [sys.executable, "-m", "headrace.cli", *arguments]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process, with the services on the path and no setting of Headrace inherited."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return {**plain, "PYTHONPATH": str(ROOT / "services"), **extra}


@contextmanager
def running_mesh(options: MeshOptions) -> Iterator[Mesh]:
    """A mesh of its own directory and ports; nothing of it is left afterwards."""
    # Not pytest's tmp_path: a socket's path may have 107 bytes only.
    state_dir = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    try:
        write_models(state_dir / "models", options.models_from)
        yield _up(state_dir, options)
    except BaseException:
        _show_logs(state_dir)
        raise
    finally:
        pids = _pids(state_dir)
        down = run(
            headrace_command("down", "--state-dir", state_dir),
            env=environment({}),
            timeout_s=DOWN_TIMEOUT_S,
            cwd=ROOT,
        )
        left = _left_behind(state_dir, pids)
        shutil.rmtree(state_dir, ignore_errors=True)
    assert down.returncode == 0, down.stderr
    assert not left, f"left behind by down: {left}"


def _up(state_dir: Path, options: MeshOptions) -> Mesh:
    arguments: list[str | Path] = ["up", "--detach", "--json", "--port", "0", "--state-dir", state_dir]
    arguments += ["--replicas", str(options.replicas)]
    if config := options.config + options.limits + options.scaling:
        (state_dir / "headrace.yaml").write_text(config)
        arguments += ["--config", state_dir / "headrace.yaml"]
    document = json.loads(headrace(*arguments, env=options.env, timeout_s=UP_TIMEOUT_S))
    return Mesh(document["gateway"], document["services"], state_dir)


def _pids(state_dir: Path) -> set[int]:
    """Every process that names the directory: on its command line or in its environment."""
    return {process.pid for process in psutil.process_iter() if _names(process, str(state_dir))}


def _names(process: psutil.Process, text: str) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(text in part for part in process.cmdline()) or any(
            text in value for value in process.environ().values()
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _left_behind(state_dir: Path, pids: set[int]) -> list[str]:
    alive = [pid for pid in pids | _pids(state_dir) if _alive(pid)]
    sockets = [path.name for path in (state_dir / "run").glob("*.sock")]
    return [f"process {pid}" for pid in alive] + sockets


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _show_logs(state_dir: Path) -> None:
    """The last lines of every process, into the report of the failed test."""
    for log in sorted((state_dir / "logs").glob("*.log")):
        print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-40:], sep="\n")
