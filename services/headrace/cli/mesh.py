"""Reaches the mesh of a state directory: its supervisor, its gateway, its tokens."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc

from headrace.cli.errors import CliError
from headrace.local.statedir import StateDir
from headrace.local.v1.process_pb2 import Process, ProcessState
from headrace.local.v1.supervisor_service_pb2 import ListRequest, ListResponse
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from headrace.runtime.channels import open_channel

CALL_S = 10.0


def state_of(directory: Path) -> StateDir:
    """The state directory, as an absolute path."""
    return StateDir(directory.absolute())


def listed(state: StateDir) -> ListResponse:
    """What the supervisor says; raises CliError when no mesh runs."""
    record = state.supervisor()
    if record is None:
        raise not_running(state)
    try:
        with supervisor(state) as stub:
            return stub.List(ListRequest(), timeout=CALL_S, wait_for_ready=True)
    except grpc.RpcError as error:
        raise CliError(
            f"the supervisor (pid {record.pid}) does not answer",
            _details(error),
            f"see {state.log('supervisor')}, or end it with `headrace down`",
        ) from None


@contextmanager
def supervisor(state: StateDir) -> Iterator[SupervisorServiceStub]:
    """The supervisor's contract, over its socket."""
    with grpc.insecure_channel(f"unix:{state.supervisor_socket}") as channel:
        yield SupervisorServiceStub(channel)


def not_running(state: StateDir) -> CliError:
    """There is no mesh in the directory."""
    return CliError(
        "no mesh runs here",
        f"nobody supervises {state.root}",
        "start one with `headrace up`, or say --state-dir",
    )


def services(answer: ListResponse) -> dict[str, list[str]]:
    """Where each service listens, the gateway apart."""
    found: dict[str, list[str]] = {}
    for process in answer.processes:
        if process.service != "gateway" and process.state != ProcessState.PROCESS_STATE_STOPPED:
            found.setdefault(process.service, []).append(process.address)
    return found


def address_of(state: StateDir, service: str, switch: str) -> str:
    """Where a service listens; raises CliError when it does not run. `switch` is the key that turns it off."""
    addresses = services(listed(state)).get(service)
    if not addresses:
        raise CliError(
            f"{service} does not run",
            f"it is switched off ({switch} in headrace.yaml) or was stopped",
            "see `headrace status`",
        )
    return addresses[0]


def healthy(process: Process) -> bool:
    """Whether a process answers its health check."""
    return process.state == ProcessState.PROCESS_STATE_HEALTHY


def token(path: Path) -> str:
    """A token that `up` wrote."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise CliError(
            f"can't read the token {path}", error.strerror or str(error), "run `headrace up`, which writes it"
        ) from None


@asynccontextmanager
async def channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that is closed behind the block; a failed call becomes a CliError."""
    opened = open_channel(target)
    try:
        yield opened
    except grpc.aio.AioRpcError as error:
        raise call_failed(target, error) from None
    finally:
        await opened.close(None)


def call_failed(target: str, error: grpc.aio.AioRpcError) -> CliError:
    """What a failed call means for who typed the command."""
    code = error.code()
    advice = {
        grpc.StatusCode.UNAVAILABLE: "see `headrace status`, and the logs in the state directory",
        grpc.StatusCode.UNAUTHENTICATED: "the token was not taken: run `headrace up` again, which renews it",
        grpc.StatusCode.NOT_FOUND: "see `headrace models` for what there is",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "see `headrace limits`, or wait as long as it says",
        grpc.StatusCode.INVALID_ARGUMENT: "see `headrace models` for the inputs of each model",
        grpc.StatusCode.FAILED_PRECONDITION: "correct what it says; `headrace models` shows what serves",
    }
    return CliError(
        f"{target} refused the call ({code.name})",
        error.details() or "no reason given",
        advice.get(code, "see `headrace status`"),
    )


def _details(error: grpc.RpcError) -> str:
    details = getattr(error, "details", None)  # grpc.RpcError declares nothing; what is raised is a Call too
    return str(details()) if details else str(error)
