"""How a request ended, by what Envoy 1.40 says of it (tests/contract/metering/test_edge.py asks a real one)."""

import pytest

from headrace.metering.core.edge import Ended, Outcome, outcome_of
from headrace.metering.v1.edge_pb2 import EdgeOutcome

UP = "via_upstream"
BROKEN = "upstream_reset_before_response_started{connection_termination}"


@pytest.mark.parametrize(
    ("details", "status", "http", "tenant", "outcome"),
    [
        (UP, "0", 200, True, Outcome.ANSWERED),
        (UP, "8", 200, True, Outcome.REFUSED),
        (UP, "14", 200, True, Outcome.REFUSED),
        (UP, "13", 200, True, Outcome.FAILED),
        (UP, "4", 200, True, Outcome.DEADLINE),
        (UP, "1", 200, True, Outcome.CANCELLED),
        (UP, "", 429, True, Outcome.REFUSED),
        (UP, "", 500, True, Outcome.FAILED),
        (UP, "", 504, True, Outcome.DEADLINE),
        ("jwt_authn_access_denied{Jwt_is_missing}", "", 401, False, Outcome.TOKEN),
        ("jwt_authn_access_denied{Jwt_is_expired}", "16", 200, False, Outcome.TOKEN),
        ("local_rate_limited", "8", 200, True, Outcome.TENANT_LIMIT),
        ("local_rate_limited", "", 429, False, Outcome.ADDRESS_LIMIT),
        ("grpc_json_transcode_failure{request_buffer_size_limit_reached}", "", 413, True, Outcome.TOO_LARGE),
        ("request_payload_too_large", "8", 200, True, Outcome.TOO_LARGE),
        ("direct_response", "12", 200, True, Outcome.NO_ROUTE),
        ("early_grpc_json_transcode_failure{NOT_FOUND}", "", 404, True, Outcome.NO_ROUTE),
        ("early_grpc_json_transcode_failure{INVALID_ARGUMENT}", "", 400, True, Outcome.MALFORMED),
        ("path_normalization_failed", "", 400, False, Outcome.MALFORMED),
        ("http1.unexpected_underscore", "", 400, False, Outcome.MALFORMED),
        ("http2.violation.of.messaging.rule", "", 0, False, Outcome.MALFORMED),
        ("overload", "", 503, False, Outcome.OVERLOAD),
        ("upstream_reset_before_response_started{overflow}", "14", 200, True, Outcome.OVERLOAD),
        (BROKEN, "", 503, True, Outcome.UPSTREAM),
        (BROKEN, "14", 200, True, Outcome.UPSTREAM),
        ("no_healthy_upstream", "14", 200, True, Outcome.UPSTREAM),
        ("max_duration_timeout", "4", 200, True, Outcome.DEADLINE),
        ("http2.remote_reset", "", 0, True, Outcome.CANCELLED),
        ("http2.remote_reset", "", 200, True, Outcome.CANCELLED),
        ("downstream_remote_disconnect", "", 0, True, Outcome.CANCELLED),
        ("something_new", "", 503, True, Outcome.UPSTREAM),
        ("something_new", "", 0, True, Outcome.CANCELLED),
        ("something_new", "", 418, True, Outcome.MALFORMED),
    ],
)
def test_each_way_has_its_outcome(
    details: str, status: str, http: int, outcome: Outcome, *, tenant: bool
) -> None:
    """One outcome for each, and one for what no version of Envoy has said yet."""
    assert outcome_of(Ended(details, status, http, tenant)) is outcome


def test_outcomes_are_the_contracts() -> None:
    """By name and number."""
    assert {f"EDGE_OUTCOME_{one.name}": int(one) for one in Outcome} == {
        name: number for name, number in EdgeOutcome.items() if number
    }
