"""`headrace status`"""

from pathlib import Path

from headrace.cli.mesh import healthy, listed, state_of
from headrace.cli.output import Output
from headrace.local.v1.process_pb2 import Process, ProcessState


def status(state_dir: Path, output: Output) -> None:
    """Every process of the mesh, the stopped ones included."""
    answer = listed(state_of(state_dir))
    output.document({"gateway": answer.gateway_address, "processes": [_row(p) for p in answer.processes]})
    output.table(
        ["process", "state", "pid", "address", "restarts", "uptime", "last exit"],
        [_cells(process) for process in answer.processes],
    )


def _row(process: Process) -> dict[str, object]:
    return {
        "name": process.name,
        "service": process.service,
        "pid": process.pid,
        "address": process.address,
        "healthy": healthy(process),
        "state": _state(process),
        "restarts": process.restarts,
        "uptime_s": round(process.uptime.ToNanoseconds() / 1e9, 3),
        "last_exit": process.last_exit or None,
    }


def _cells(process: Process) -> list[str]:
    uptime = f"{process.uptime.ToSeconds()} s"
    return [
        process.name,
        _state(process),
        str(process.pid or "-"),
        process.address,
        str(process.restarts),
        uptime,
        process.last_exit or "-",
    ]


def _state(process: Process) -> str:
    return ProcessState.Name(process.state).removeprefix("PROCESS_STATE_").lower()
