"""What metering refuses, and the code each reason has on the wire."""

import grpc

from headrace.runtime.errors import CodeTable, FieldViolation, HeadraceError

DOMAIN = "metering.headrace"

CODES: CodeTable = {
    (DOMAIN, "USAGE_OUTBOX_FULL"): grpc.StatusCode.UNAVAILABLE,
    # Not UNAVAILABLE: sending the same batch again would not help.
    (DOMAIN, "BATCH_INVALID"): grpc.StatusCode.INVALID_ARGUMENT,
    (DOMAIN, "LEDGER_UNAVAILABLE"): grpc.StatusCode.UNAVAILABLE,
}


def outbox_full() -> HeadraceError:
    """Nothing billable is done while it can't be recorded."""
    return HeadraceError(
        "USAGE_OUTBOX_FULL",
        "there is no room to record what this request would use: metering has not been reached for long, "
        "or the disk of the outbox is full",
        {"setting": "OUTBOX"},
        DOMAIN,
        retry_after_s=1.0,
    )


def batch_invalid(column: str, problem: str) -> HeadraceError:
    """A batch that can't be read."""
    return HeadraceError(
        "BATCH_INVALID",
        f"{column}: {problem}",
        {"column": column, "problem": problem},
        DOMAIN,
        violations=(FieldViolation(f"batch.{column}", problem),),
    )


def field_invalid(field: str, description: str) -> HeadraceError:
    """A field of the request that can't be served."""
    return HeadraceError(
        "FIELD_INVALID",
        f"{field}: {description}",
        {"field": field},
        violations=(FieldViolation(field, description),),
    )


def ledger_unavailable() -> HeadraceError:
    """The ledger's file can't be used now; nothing of the request was stored."""
    return HeadraceError(
        "LEDGER_UNAVAILABLE", "the ledger can't be used now; metering's log says why", {}, DOMAIN, 1.0
    )


def overloaded() -> HeadraceError:
    """More waits for the ledger than it takes soon."""
    return HeadraceError("OVERLOADED", "too much waits for the ledger", retry_after_s=1.0)


def streams_exhausted() -> HeadraceError:
    """As many access logs come already as are taken."""
    return HeadraceError("OVERLOADED", "too many access logs are being taken", retry_after_s=1.0)
