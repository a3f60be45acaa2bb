"""What can be wrong with an inference, in the contract's reasons."""

from collections.abc import Mapping
from math import ceil

import grpc

from headrace.runtime.errors import CodeTable, FieldViolation, HeadraceError

DOMAIN = "inference.headrace"

EXECUTION_FAILED = "EXECUTION_FAILED"
"""The one reason that says something of a model's health."""

CODES: CodeTable = {
    (DOMAIN, "MODEL_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "VERSION_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "MODEL_NOT_READY"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "TENSOR_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "QUEUE_FULL"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "DEADLINE_INFEASIBLE"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "PARAMETER_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, EXECUTION_FAILED): grpc.StatusCode.INTERNAL,
    (DOMAIN, "BODY_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "IDEMPOTENCY_KEY_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "FLIGHT_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "SERVER_NOT_READY"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "MODEL_CONTROL_OFF"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "MODEL_NAME_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "MODEL_LOAD_FAILED"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "LOADS_BUSY"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "REPLICA_BEHIND"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "REPOSITORY_UNKNOWN"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "SETTING_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "SHARED_MEMORY_OFF"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "SHARED_MEMORY_UNSUPPORTED"): grpc.StatusCode.UNIMPLEMENTED,
    (DOMAIN, "REGION_NOT_FOUND"): grpc.StatusCode.NOT_FOUND,
    (DOMAIN, "REGION_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "REGION_EXISTS"): grpc.StatusCode.ALREADY_EXISTS,
    (DOMAIN, "REGIONS_FULL"): grpc.StatusCode.RESOURCE_EXHAUSTED,
    (DOMAIN, "SHARED_MEMORY_REMOTE"): grpc.StatusCode.PERMISSION_DENIED,
}

RETRY_AFTER_S = 1.0
LEAST_RETRY_AFTER_S = 0.01
SHOWN = 400
"""Characters of a caller's own words in an error: a client refuses an answer with more than some KiB of metadata."""


def shown(text: str) -> str:
    """A caller's word as an error may repeat it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _error(
    reason: str, message: str, metadata: Mapping[str, str], retry_after_s: float | None = None
) -> HeadraceError:
    return HeadraceError(reason, message, metadata, DOMAIN, retry_after_s)


def model_not_found(model: str) -> HeadraceError:
    """The repository has no such model."""
    model = shown(model)
    return _error("MODEL_NOT_FOUND", f"no model {model!r}", {"model": model})


def version_not_found(model: str, version: str) -> HeadraceError:
    """The model has no such version."""
    version = shown(version)
    return _error(
        "VERSION_NOT_FOUND",
        f"model {model!r} has no version {version!r}",
        {"model": model, "version": version},
    )


def model_not_ready(model: str, state: str, lacks: str = "") -> HeadraceError:
    """The model exists and can't serve now; `state` is the index's word, `lacks` a step's model that is missing."""
    text, metadata = f"model {model!r} is {state}", {"model": model, "state": state}
    if lacks:
        text, metadata = f"{text}: its step's model {lacks!r} does not serve", {**metadata, "lacks": lacks}
    return _error("MODEL_NOT_READY", text, metadata, RETRY_AFTER_S)


def queue_full(model: str, max_queue: int) -> HeadraceError:
    """As many requests wait as may."""
    return _error(
        "QUEUE_FULL",
        f"the queue of model {model!r} holds its {max_queue} requests",
        {"model": model, "max_queue": str(max_queue)},
        RETRY_AFTER_S,
    )


def deadline_infeasible(model: str, late_s: float) -> HeadraceError:
    """What waits before the request would make it `late_s` too late: it is refused now, not then."""
    late_ms = str(ceil(late_s * 1000))
    return _error(
        "DEADLINE_INFEASIBLE",
        f"the queue of model {model!r} is too long for this deadline, by about {late_ms} ms",
        {"model": model, "late_ms": late_ms},
        max(late_s, LEAST_RETRY_AFTER_S),
    )


def parameter_invalid(model: str, name: str, problem: str) -> HeadraceError:
    """`name` is the request's parameter, `problem` what was expected and what came."""
    field = f"parameters[{name}]"
    return HeadraceError(
        "PARAMETER_INVALID",
        f"model {model!r}, {field}: {problem}",
        {"model": model, "field": field},
        DOMAIN,
        violations=(FieldViolation(field, problem),),
    )


def deadline_exceeded(stage: str) -> HeadraceError:
    """The caller's or the model's deadline passed in `stage`."""
    return HeadraceError("DEADLINE_EXCEEDED", f"the deadline passed in the {stage}", {"stage": stage})


def of_step(error: HeadraceError, ensemble: str, step: int) -> HeadraceError:
    """What a step of an ensemble raised, as the ensemble's own; `step` is its place in the configuration."""
    return HeadraceError(
        error.reason,
        f"ensemble {ensemble!r}, step {step}: {error.message}",
        {**error.metadata, "ensemble": ensemble, "step": str(step)},
        error.domain,
        error.retry_after_s,
        error.violations,
        error.quota,
    )


def execution_failed(model: str) -> HeadraceError:
    """The model failed on this request; the log has the cause, the caller does not."""
    return _error(EXECUTION_FAILED, f"model {model!r} failed on this request", {"model": model})


def tensor_invalid(model: str, field: str, problem: str) -> HeadraceError:
    """`field` is the path in the request, `problem` what was expected and what came."""
    field, problem = shown(field), shown(problem)
    return HeadraceError(
        "TENSOR_INVALID",
        f"model {model!r}, {field}: {problem}",
        {"model": model, "field": field},
        DOMAIN,
        violations=(FieldViolation(field, problem),),
    )


def body_invalid(field: str, problem: str) -> HeadraceError:
    """`field` is the path in the JSON body."""
    field, problem = shown(field), shown(problem)
    return HeadraceError(
        "BODY_INVALID",
        f"{field}: {problem}",
        {"field": field},
        DOMAIN,
        violations=(FieldViolation(field, problem),),
    )


def field_invalid(field: str, description: str) -> HeadraceError:
    """A field of a request beside inference that can't be served."""
    return HeadraceError(
        "FIELD_INVALID",
        f"{field}: {description}",
        {"field": field},
        violations=(FieldViolation(field, description),),
    )


def streams_exhausted(most: int) -> HeadraceError:
    """As many callers have streams of a kind open as may."""
    return HeadraceError(
        "OVERLOADED",
        f"{most} streams are open, which is as many as may be",
        {"streams": str(most)},
        retry_after_s=RETRY_AFTER_S,
    )


def memory_busy(most_bytes: int) -> HeadraceError:
    """Requests use as much of the shared memory as may be at a time."""
    return HeadraceError(
        "OVERLOADED",
        f"requests use {most_bytes} bytes of shared memory, which is as much as may be",
        {"most_bytes": str(most_bytes)},
        retry_after_s=RETRY_AFTER_S,
    )


def idempotency_key_invalid(problem: str) -> HeadraceError:
    """The metadata `idempotency-key` can't be billed by."""
    return HeadraceError(
        "IDEMPOTENCY_KEY_INVALID",
        f"idempotency-key: {problem}",
        {"field": "idempotency-key"},
        DOMAIN,
        violations=(FieldViolation("idempotency-key", problem),),
    )


def flight_not_found(identifier: str) -> HeadraceError:
    """Nothing is recorded of this request that the caller may see."""
    return _error("FLIGHT_NOT_FOUND", f"nothing is recorded of {identifier!r}", {"id": identifier})
