"""The supervisor's errors: the reasons of its contract, and faults at start."""

import grpc

from headrace.runtime.errors import CodeTable, HeadraceError

DOMAIN = "local.headrace"

CODES: CodeTable = {
    (DOMAIN, "PROCESS_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "PROCESS_STATE"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "START_FAILED"): grpc.StatusCode.UNAVAILABLE,
}


class StartFault(Exception):
    """The mesh can't start: `what` happened, `why`, and what to do `next`."""

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(f"{what}: {why}; {next_step}")
        self.what = what
        self.why = why
        self.next_step = next_step


def process_not_found(name: str) -> HeadraceError:
    """The supervisor owns no process `name`."""
    return HeadraceError("PROCESS_NOT_FOUND", f"there is no process {name!r}", {"name": name}, DOMAIN)


def process_state(name: str, state: str) -> HeadraceError:
    """`name` is in a state that does not allow what was asked."""
    return HeadraceError(
        "PROCESS_STATE",
        f"{name} is {state}, which does not allow this",
        {"name": name, "state": state},
        DOMAIN,
    )


def start_failed(name: str, log: str, why: str) -> HeadraceError:
    """`name` did not become ready."""
    return HeadraceError("START_FAILED", f"{name} {why}; see {log}", {"name": name, "log": log}, DOMAIN)
