"""What scaling refuses, and the code each reason has on the wire."""

import grpc

from headrace.runtime.errors import CodeTable, HeadraceError

DOMAIN = "scaling.headrace"

CODES: CodeTable = {
    (DOMAIN, "SUPERVISOR_LOST"): grpc.StatusCode.UNAVAILABLE,
}


def supervisor_lost(problem: str) -> HeadraceError:
    """The supervisor does not answer; `problem` says how."""
    return HeadraceError(
        "SUPERVISOR_LOST",
        "the supervisor does not answer: nothing can be started or stopped now",
        {"problem": problem},
        DOMAIN,
        retry_after_s=1.0,
    )
