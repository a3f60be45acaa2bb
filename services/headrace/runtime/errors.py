"""Errors that callers are told about, and their form on the wire.

A service raises `HeadraceError` with a reason of its contract; it knows no gRPC
and no HTTP code. Each service has one table from reason to code, and the
boundary of each transport (`boundary.py`, `ingress/`) turns an error into a
`Rejection` by it. Anything that is not a `HeadraceError` is logged there and
leaves as INTERNAL with a fixed text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

log = structlog.get_logger(__name__)

RUNTIME_DOMAIN = "runtime.headrace"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that can't be served: which, and why."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """One limit that the caller is over: whose, and which."""

    subject: str
    description: str


@dataclass(slots=True)
class HeadraceError(Exception):
    """An error that the caller is told, whole.

    `reason` is a value of the domain's ErrorReason without its prefix;
    everything variable in `message` also stands in `metadata`.
    """

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    domain: str = RUNTIME_DOMAIN
    retry_after_s: float | None = None
    violations: tuple[FieldViolation, ...] = ()
    quota: tuple[QuotaViolation, ...] = ()

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refused or failed call as gRPC puts it on the wire.

    `details` is a serialised google.rpc.Status, the value of the trailer
    `grpc-status-details-bin`; `reason` is the error's, which stands in it.
    """

    code: int
    message: str
    details: bytes
    retry_after_s: float | None = None
    reason: str = ""


CodeTable = Mapping[tuple[str, str], grpc.StatusCode]
"""(domain, reason) -> code."""

RUNTIME_CODES: CodeTable = {
    (RUNTIME_DOMAIN, reason): code
    for reason, code in {
        "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
        "SCOPE_MISSING": grpc.StatusCode.PERMISSION_DENIED,
        "HEADER_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
        "MESSAGE_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
        "MESSAGE_TOO_LARGE": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "ENCODING_UNSUPPORTED": grpc.StatusCode.UNIMPLEMENTED,
        "METHOD_UNKNOWN": grpc.StatusCode.UNIMPLEMENTED,
        "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
        "OVERLOADED": grpc.StatusCode.UNAVAILABLE,
        "DRAINING": grpc.StatusCode.UNAVAILABLE,
        "INTERNAL": grpc.StatusCode.INTERNAL,
        "FIELD_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
        "TOKEN_REVOKED": grpc.StatusCode.UNAUTHENTICATED,
        "REVOCATIONS_UNKNOWN": grpc.StatusCode.UNAVAILABLE,
    }.items()
}


def code_number(code: grpc.StatusCode) -> int:
    """The code's number on the wire."""
    number: int = code.value[0]
    return number


def rejection(error: HeadraceError, codes: CodeTable) -> Rejection:
    """The wire form of `error`; a reason that the table lacks is a fault of ours."""
    code = codes.get((error.domain, error.reason)) or RUNTIME_CODES.get((error.domain, error.reason))
    if code is None:
        return INTERNAL
    number = code_number(code)
    status = Status(code=number, message=error.message)
    _pack(
        status,
        ErrorInfo(reason=error.reason, domain=error.domain, metadata=error.metadata),
    )
    if error.violations:
        _pack(
            status,
            BadRequest(
                field_violations=[
                    BadRequest.FieldViolation(field=v.field, description=v.description)
                    for v in error.violations
                ]
            ),
        )
    if error.quota:
        _pack(
            status,
            QuotaFailure(
                violations=[
                    QuotaFailure.Violation(subject=v.subject, description=v.description) for v in error.quota
                ]
            ),
        )
    if error.retry_after_s is not None:
        _pack(status, RetryInfo(retry_delay=_duration(error.retry_after_s)))
    return Rejection(number, error.message, status.SerializeToString(), error.retry_after_s, error.reason)


def retry_after_header(retry_after_s: float) -> str:
    """HTTP's Retry-After: whole seconds, at least one."""
    return str(max(1, ceil(retry_after_s)))


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(max(0, round(seconds * 1e9)))
    return duration


def _pack(status: Status, detail: BadRequest | ErrorInfo | QuotaFailure | RetryInfo) -> None:
    packed = Any()
    packed.Pack(detail)
    status.details.append(packed)


def _internal() -> Rejection:
    error = HeadraceError("INTERNAL", "the server failed; its log has the cause")
    return rejection(error, RUNTIME_CODES)


INTERNAL = _internal()
"""What a caller sees of a fault of ours."""


def rejected(error: Exception, codes: CodeTable) -> Rejection:
    """What the caller is told of `error`; a fault of ours is logged and kept from it.

    Only the boundaries of the transports call this, in their one `except Exception`.
    """
    if isinstance(error, HeadraceError):
        found = rejection(error, codes)
        if found is not INTERNAL:
            return found
    log.error("call failed", exc_info=error)
    return INTERNAL
