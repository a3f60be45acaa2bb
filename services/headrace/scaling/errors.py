"""What scaling refuses, and the code each reason has on the wire."""

import grpc

from headrace.runtime.errors import CodeTable, FieldViolation, HeadraceError

DOMAIN = "scaling.headrace"

CODES: CodeTable = {
    (DOMAIN, "SUPERVISOR_LOST"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "POOL_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "REPLICAS_OUT_OF_BOUNDS"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "STORE_FAILED"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "REPLICA_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "REPLICA_STATE"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "START_FAILED"): grpc.StatusCode.UNAVAILABLE,
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


def pool_not_found(pool: str) -> HeadraceError:
    """No replicas go by this name."""
    return HeadraceError("POOL_NOT_FOUND", f"there is no pool {pool!r}", {"pool": pool}, DOMAIN)


def replicas_out_of_bounds(replicas: int, least: int, most: int) -> HeadraceError:
    """So many replicas are not allowed."""
    problem = f"must be between {least} and {most}, not {replicas} (scaling.min and scaling.max)"
    return HeadraceError(
        "REPLICAS_OUT_OF_BOUNDS",
        f"replicas: {problem}",
        {"field": "replicas", "replicas": str(replicas), "min": str(least), "max": str(most)},
        DOMAIN,
        violations=(FieldViolation("replicas", problem),),
    )


def store_failed() -> HeadraceError:
    """A number that could not be stored does not hold."""
    return HeadraceError(
        "STORE_FAILED", "the number could not be stored, nothing was changed", {}, DOMAIN, retry_after_s=1.0
    )


def replica_not_found(name: str) -> HeadraceError:
    """The supervisor has no replica `name`."""
    return HeadraceError("REPLICA_NOT_FOUND", f"there is no replica {name!r}", {"name": name}, DOMAIN)


def replica_state(name: str) -> HeadraceError:
    """`name` is in a state that does not allow what was asked."""
    return HeadraceError(
        "REPLICA_STATE", f"{name} is in a state that does not allow this", {"name": name}, DOMAIN
    )


def start_failed(problem: str) -> HeadraceError:
    """A replica did not become ready; `problem` is what the supervisor says."""
    return HeadraceError("START_FAILED", problem, {"problem": problem}, DOMAIN)


def field_invalid(field: str, description: str) -> HeadraceError:
    """A field of the request that can't be served."""
    return HeadraceError(
        "FIELD_INVALID",
        f"{field}: {description}",
        {"field": field},
        violations=(FieldViolation(field, description),),
    )


def too_many_streams(most: int) -> HeadraceError:
    """More gateways listen than are waited for."""
    return HeadraceError(
        "OVERLOADED", "too many streams are open", {"limit_streams": str(most)}, retry_after_s=1.0
    )
