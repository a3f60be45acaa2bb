"""Errors on the wire."""

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from headrace.inference import errors as inference_errors
from headrace.inference.v1 import error_reason_pb2 as inference_reasons
from headrace.insight import errors as insight_errors
from headrace.insight.v1 import error_reason_pb2 as insight_reasons
from headrace.runtime.errors import (
    INTERNAL,
    RUNTIME_CODES,
    RUNTIME_DOMAIN,
    CodeTable,
    FieldViolation,
    HeadraceError,
    QuotaViolation,
    rejected,
    rejection,
    retry_after_header,
)
from headrace.runtime.v1 import error_reason_pb2 as runtime_reasons


def test_an_error_carries_all_that_it_knows() -> None:
    """ErrorInfo, BadRequest, QuotaFailure and RetryInfo, as clients unpack them."""
    error = HeadraceError(
        "FIELD_INVALID",
        "limit: too large",
        {"field": "limit"},
        retry_after_s=1.5,
        violations=(FieldViolation("limit", "too large"),),
        quota=(QuotaViolation("tenant:a", "rate"),),
    )
    status = Status.FromString(rejection(error, {}).details)
    info, bad, quota, retry = ErrorInfo(), BadRequest(), QuotaFailure(), RetryInfo()
    for detail, message in zip(status.details, (info, bad, quota, retry), strict=True):
        assert detail.Unpack(message)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "FIELD_INVALID",
        "runtime.headrace",
        {"field": "limit"},
    )
    assert bad.field_violations[0].field == "limit"
    assert quota.violations[0].subject == "tenant:a"
    assert retry.retry_delay.ToNanoseconds() == 1_500_000_000
    assert (status.code, status.message) == (3, "limit: too large")


@pytest.mark.parametrize("error", [ValueError("secret"), HeadraceError("NO_SUCH_REASON", "secret")])
def test_what_the_table_lacks_leaves_as_internal(error: Exception) -> None:
    """The caller sees a fixed text; the cause stays in the log."""
    told = rejected(error, {})
    assert told is INTERNAL
    assert "secret" not in told.message
    assert b"secret" not in told.details


@pytest.mark.parametrize(
    ("reasons", "domain", "codes"),
    [
        (runtime_reasons.ErrorReason, RUNTIME_DOMAIN, RUNTIME_CODES),
        (inference_reasons.ErrorReason, inference_errors.DOMAIN, inference_errors.CODES),
        (insight_reasons.ErrorReason, insight_errors.DOMAIN, insight_errors.CODES),
    ],
)
def test_every_reason_of_a_contract_has_a_code(reasons, domain: str, codes: CodeTable) -> None:  # type: ignore[no-untyped-def]  # enum wrappers have no common type
    """And no code belongs to a reason that the contract does not name."""
    named = {name.removeprefix("ERROR_REASON_") for name in reasons.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper is no dict
    assert {reason for in_domain, reason in codes if in_domain == domain} == named


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2")])
def test_retry_after_is_whole_seconds(seconds: float, header: str) -> None:
    """Rounded up, never 0: a client that waits less would come too early."""
    assert retry_after_header(seconds) == header
