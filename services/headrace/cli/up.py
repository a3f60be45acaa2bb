"""`headrace up` and `headrace down`."""

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.cli.errors import CliError
from headrace.cli.mesh import listed, services
from headrace.cli.output import Output
from headrace.cli.program import program, short
from headrace.local.child import bound_to_us, identity_of
from headrace.local.errors import StartFault
from headrace.local.statedir import StateDir, SupervisorRecord, prepare

DEFAULT_CONFIG = Path("headrace.yaml")
DEFAULT_STATE_DIR = Path(".headrace")
STOP_S = 60.0

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What `up` was asked for; None leaves it to headrace.yaml."""

    state: StateDir
    config: Path | None
    port: int | None
    replicas: int | None
    detach: bool

    def environ(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The supervisor's environment."""
        wanted = {
            "HEADRACE_LOCAL_STATE_DIR": self.state.root,
            "HEADRACE_LOCAL_CONFIG": self.config and self.config.absolute(),
            "HEADRACE_LOCAL_PORT": self.port,
            "HEADRACE_LOCAL_REPLICAS": self.replicas,
        }
        plain = {name: value for name, value in inherited.items() if not name.startswith("HEADRACE_LOCAL_")}
        return plain | {name: str(value) for name, value in wanted.items() if value is not None}


def configuration(named: Path | None) -> Path | None:
    """The file that holds here: the one that was named, or headrace.yaml if there is one."""
    return named or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)


def up(request: Request, environ: Mapping[str, str], output: Output) -> None:
    """Starts the mesh; returns when it is ready (detached) or over."""
    record = request.state.supervisor()
    if record is not None:
        _already(request.state, record, output)
        return
    try:
        prepare(request.state)
    except StartFault as fault:
        raise CliError(fault.what, fault.why, fault.next_step) from None
    begun = time.monotonic()
    process = _spawn(request, environ)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: process.send_signal(signal.SIGTERM))
    ready = False
    try:
        document = _until_ready(process, request.state, output)
        ready = True
        output.document(document)
        _greet(document, time.monotonic() - begun, request, output)
        if not request.detach:
            _attend(process, output)
    except KeyboardInterrupt:
        _interrupted(process, output)
        if not ready:
            raise
    except BaseException as error:
        # Whoever reads what we print may leave (`| head`): a mesh that is on its own stays.
        if not (ready and request.detach and isinstance(error, BrokenPipeError)):
            process.send_signal(signal.SIGTERM)
        raise


def down(state: StateDir, output: Output) -> None:
    """Stops the mesh; returns when nothing of it is left."""
    record = state.supervisor()
    if record is None:
        output.document({"stopped": False, "state_dir": str(state.root)})
        output.text(f"no mesh runs in {state.root}")
        return
    output.progress("finishing open requests, stopping")
    with _Handle(record) as handle:
        handle.send(signal.SIGTERM)
        if not handle.gone(STOP_S):
            output.note(f"the supervisor (pid {record.pid}) did not stop in {STOP_S:.0f} s; killed")
            handle.send(signal.SIGKILL)
            handle.gone(5.0)
    output.document({"stopped": True, "state_dir": str(state.root)})
    output.text("stopped")


class _Handle:
    """One process, whatever becomes of its pid."""

    def __init__(self, record: SupervisorRecord) -> None:
        self._record = record
        self._descriptor = -1

    def __enter__(self) -> "_Handle":
        try:
            descriptor = os.pidfd_open(self._record.pid)
        except ProcessLookupError:
            return self
        # The descriptor stays with the process that had the pid just now: if it
        # is still the one of the record, no later one can be hit.
        if identity_of(self._record.pid) == self._record.identity:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def send(self, number: signal.Signals) -> None:
        """Signals the process, if it is there."""
        if self._descriptor >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def gone(self, within_s: float) -> bool:
        """Whether the process ends within the time."""
        return self._descriptor < 0 or bool(select.select([self._descriptor], [], [], within_s)[0])


def _spawn(request: Request, environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """The supervisor, in a session of its own; it reports on its stdout."""
    command = [sys.executable, "-m", "headrace.local"]
    if not request.detach:
        # Whatever ends this command ends the mesh, in good order.
        command = bound_to_us(command, signal.SIGTERM)
    with request.state.log("supervisor").open("ab") as log:
        return subprocess.Popen(
            command,
            env=request.environ(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )


def _until_ready(process: "subprocess.Popen[bytes]", state: StateDir, output: Output) -> Document:
    assert process.stdout
    for line in process.stdout:
        event = json.loads(line)
        match event["event"]:
            case "step":
                output.progress(event["text"])
            case "failed":
                process.wait()
                raise CliError(event["what"], event["why"], event["next"])
            case "ready":
                document: Document = event["document"]
                return document
    code = process.wait()
    raise CliError(
        f"the mesh ended before it was ready (exit code {code})",
        "it was asked to" if code == 0 else "it did not say",
        f"see {state.log('supervisor')}",
    )


def _attend(process: "subprocess.Popen[bytes]", output: Output) -> None:
    """Tells what comes and goes until the mesh is over."""
    assert process.stdout
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "process":
            how = f" ({event['last_exit']})" if event["last_exit"] else ""
            output.note(f"{event['name']} is {event['state']}{how}")
    code = process.wait()
    if code != 0:
        raise CliError(f"the supervisor ended (exit code {code})", "see its log", "run `headrace up` again")
    output.text("stopped")


def _interrupted(process: "subprocess.Popen[bytes]", output: Output) -> None:
    """Ctrl-C: in good order; a second one at once."""
    output.note("\nstopping (Ctrl-C again: at once)")
    process.send_signal(signal.SIGTERM)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.kill()  # the kernel ends its processes with it
        process.wait()
    output.text("stopped")


def _already(state: StateDir, record: SupervisorRecord, output: Output) -> None:
    if not record.gateway:
        raise CliError(
            "a mesh is starting or stopping here",
            f"the supervisor (pid {record.pid}) of {state.root} is not ready",
            "wait for it, or end it with `headrace down`",
        )
    document = {
        "gateway": record.gateway,
        "services": services(listed(state)),
        "web": record.web,
        "token_file": str(state.demo_token),
        "operator_token_file": str(state.operator_token),
        "state_dir": str(state.root),
        "already_up": True,
    }
    output.document(document)
    output.text(f"already up (pid {record.pid}); `headrace down` ends it")
    _endpoints(document, output)


def _greet(document: Document, seconds: float, request: Request, output: Output) -> None:
    output.text(f"ready in {seconds:.1f} s")
    _endpoints(document, output)
    output.text()
    output.text("try:" if request.detach else "try, in another terminal:")
    for command in commands_to_try(document, request.state):
        output.text(f"  {command}")
    output.text()
    output.text("`headrace down` stops it" if request.detach else "Ctrl-C stops it")


def _endpoints(document: Document, output: Output) -> None:
    output.text(f"  gateway    {document['gateway']}  gRPC, gRPC-Web and REST")
    for service, addresses in document["services"].items():
        output.text(f"  {service:<9}  {', '.join(addresses)}")
    output.text(f"  web        {document['web']}  `headrace top --web` lets you in")
    output.text(f"  token      {_short(Path(document['token_file']))}")


def commands_to_try(document: Document, state: StateDir) -> list[str]:
    """Three commands that can be pasted as they are, in this working directory."""
    token = shlex.quote(str(_short(Path(document["token_file"]))))
    authorization = f'-H "authorization: Bearer $(cat {token})"'
    gateway = document["gateway"]
    elsewhere = (
        ""
        if state.root == DEFAULT_STATE_DIR.absolute()
        else f" --state-dir {shlex.quote(str(_short(state.root)))}"
    )
    return [
        f'{program()} infer minilm --text "where does the water go?"{elsewhere}',
        f"curl -s {authorization} http://{gateway}/v2/models/minilm",
        f"grpcurl -plaintext {authorization} {gateway} list",
    ]


def _short(path: Path) -> Path:
    return short(path, Path.cwd())
