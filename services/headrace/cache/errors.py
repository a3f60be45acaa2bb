"""What the cache refuses, and the code each reason has on the wire."""

import grpc

from headrace.runtime.errors import CodeTable, FieldViolation, HeadraceError

DOMAIN = "cache.headrace"

CODES: CodeTable = {
    (DOMAIN, "INVALIDATION_INCOMPLETE"): grpc.StatusCode.UNAVAILABLE,
    (DOMAIN, "TOO_MANY_WATCHERS"): grpc.StatusCode.RESOURCE_EXHAUSTED,
}

RETRY_S = 1.0


def invalidation_incomplete(problem: str) -> HeadraceError:
    """A level could not be reached; what it holds is not served, and removed when it is back."""
    return HeadraceError(
        "INVALIDATION_INCOMPLETE",
        f"memory and near-caches have forgotten it, the level redis holds it still: {problem}",
        {"level": "redis", "problem": problem},
        DOMAIN,
        retry_after_s=RETRY_S,
    )


def too_many_watchers(limit: int) -> HeadraceError:
    """Each near-cache that watches holds a stream; there are as many as may."""
    return HeadraceError(
        "TOO_MANY_WATCHERS",
        f"{limit} near-caches watch already",
        {"limit": str(limit)},
        DOMAIN,
        retry_after_s=RETRY_S,
    )


def field_invalid(field: str, description: str) -> HeadraceError:
    """A field of the request that can't be served."""
    return HeadraceError(
        "FIELD_INVALID",
        f"{field}: {description}",
        {"field": field},
        violations=(FieldViolation(field, description),),
    )
