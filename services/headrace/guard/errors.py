"""What guard refuses, and the code each reason has on the wire."""

import math

import grpc

from headrace.guard.core.limits import Limits
from headrace.runtime.errors import CodeTable, FieldViolation, HeadraceError, QuotaViolation

DOMAIN = "guard.headrace"

CODES: CodeTable = {
    (DOMAIN, "RATE_LIMITED"): grpc.StatusCode.RESOURCE_EXHAUSTED,
    (DOMAIN, "CONCURRENCY_LIMITED"): grpc.StatusCode.RESOURCE_EXHAUSTED,
    (DOMAIN, "BREAKER_OPEN"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "STREAM_INVALID"): grpc.StatusCode.FAILED_PRECONDITION,
    (DOMAIN, "HOLDER_REPLACED"): grpc.StatusCode.ABORTED,
    (DOMAIN, "STORE_FAILED"): grpc.StatusCode.UNAVAILABLE,
}


def rate_limited(tenant: str, limits: Limits, retry_after_s: float) -> HeadraceError:
    """The tenant made more requests than its rate allows."""
    rate, retry = f"{limits.rate:g}", _milliseconds(retry_after_s)
    limit = f"{rate} requests per second with bursts of {limits.burst}"
    return HeadraceError(
        "RATE_LIMITED",
        f"tenant {tenant!r} is over its limit of {limit}; retry in {retry} ms",
        {
            "tenant": tenant,
            "limit": "rate",
            "rate": rate,
            "burst": str(limits.burst),
            "retry_after_ms": retry,
        },
        DOMAIN,
        retry_after_s,
        quota=(QuotaViolation(f"tenant:{tenant}", limit),),
    )


def concurrency_limited(tenant: str, limits: Limits, retry_after_s: float) -> HeadraceError:
    """The tenant has as many requests in flight as it may."""
    retry = _milliseconds(retry_after_s)
    limit = f"{limits.concurrency} requests in flight"
    return HeadraceError(
        "CONCURRENCY_LIMITED",
        f"tenant {tenant!r} is at its limit of {limit}; retry in {retry} ms",
        {
            "tenant": tenant,
            "limit": "concurrency",
            "concurrency": str(limits.concurrency),
            "retry_after_ms": retry,
        },
        DOMAIN,
        retry_after_s,
        quota=(QuotaViolation(f"tenant:{tenant}", limit),),
    )


def breaker_open(model: str, retry_after_s: float) -> HeadraceError:
    """The model failed so often that it is left alone for a while."""
    retry = _milliseconds(retry_after_s)
    return HeadraceError(
        "BREAKER_OPEN",
        f"model {model!r} failed several times in a row and is left alone; retry in {retry} ms",
        {"model": model, "retry_after_ms": retry},
        DOMAIN,
        retry_after_s,
    )


def stream_invalid(problem: str) -> HeadraceError:
    """A lease stream that does not follow its order."""
    return HeadraceError(
        "STREAM_INVALID", f"the lease stream is not valid: {problem}", {"problem": problem}, DOMAIN
    )


def holder_replaced(holder: str) -> HeadraceError:
    """Another stream of the same holder has begun."""
    return HeadraceError(
        "HOLDER_REPLACED", f"another stream of holder {holder!r} has begun", {"holder": holder}, DOMAIN
    )


def store_failed() -> HeadraceError:
    """A revocation that could not be stored was not made."""
    return HeadraceError(
        "STORE_FAILED", "the revocation could not be stored, nothing was revoked", {}, DOMAIN, 1.0
    )


def field_invalid(field: str, description: str) -> HeadraceError:
    """A field of the request that can't be served."""
    return HeadraceError(
        "FIELD_INVALID",
        f"{field}: {description}",
        {"field": field},
        violations=(FieldViolation(field, description),),
    )


def _milliseconds(seconds: float) -> str:
    return str(math.ceil(seconds * 1000))
