"""What became of a request, as the edge saw it: one of a few causes, by what Envoy logs."""

from enum import IntEnum
from typing import NamedTuple


class Outcome(IntEnum):
    """How a request ended at the edge; the contract's numbers.

    `REFUSED` and `FAILED` are a replica's own answers, all others but
    `ANSWERED` the edge's.
    """

    ANSWERED = 1
    TOKEN = 2
    ADDRESS_LIMIT = 3
    TENANT_LIMIT = 4
    TOO_LARGE = 5
    NO_ROUTE = 6
    MALFORMED = 7
    OVERLOAD = 8
    UPSTREAM = 9
    DEADLINE = 10
    CANCELLED = 11
    REFUSED = 12
    FAILED = 13


class Ended(NamedTuple):
    """How Envoy says that a request ended.

    `details` are its response code details, `grpc_status` is gRPC's number as
    text, empty where the answer is plain HTTP or there is none; `http_status` is
    0 when no answer began. `tenant` says whether a token was accepted.
    """

    details: str
    grpc_status: str
    http_status: int
    tenant: bool


VIA_UPSTREAM = "via_upstream"

# gRPC's numbers: UNKNOWN, INTERNAL, DATA_LOSS; what a replica says in HTTP's.
_FAULTS = frozenset(("2", "13", "15"))
_HTTP_FAULTS = frozenset((500, 502))
_DEADLINE = "4"
_CANCELLED = "1"

_BY_DETAILS = (
    # The beginning of Envoy's details, for what it answered itself.
    ("jwt_authn_access_denied", Outcome.TOKEN),
    ("direct_response", Outcome.NO_ROUTE),
    ("route_not_found", Outcome.NO_ROUTE),
    ("request_payload_too_large", Outcome.TOO_LARGE),
    ("request_headers_too_large", Outcome.TOO_LARGE),
    ("max_duration_timeout", Outcome.DEADLINE),
    ("upstream_response_timeout", Outcome.DEADLINE),
    ("overload", Outcome.OVERLOAD),
    ("upstream_reset_before_response_started{overflow}", Outcome.OVERLOAD),
    ("upstream_reset", Outcome.UPSTREAM),
    ("upstream_per_try_timeout", Outcome.UPSTREAM),
    ("no_healthy_upstream", Outcome.UPSTREAM),
    ("cluster_not_found", Outcome.UPSTREAM),
    ("maintenance_mode", Outcome.UPSTREAM),
    ("downstream", Outcome.CANCELLED),
    ("http2.remote_re", Outcome.CANCELLED),
    ("http1.", Outcome.MALFORMED),
    ("http2.", Outcome.MALFORMED),
)
_BY_HTTP = {
    400: Outcome.MALFORMED,
    404: Outcome.NO_ROUTE,
    405: Outcome.NO_ROUTE,
    408: Outcome.DEADLINE,
    413: Outcome.TOO_LARGE,
    431: Outcome.TOO_LARGE,
    503: Outcome.UPSTREAM,
    504: Outcome.DEADLINE,
}


def outcome_of(ended: Ended) -> Outcome:
    """What became of the request."""
    if ended.details == VIA_UPSTREAM:
        return _answered(ended)
    if ended.details == "local_rate_limited":
        # The limit of addresses stands before the token, that of tenants behind it.
        return Outcome.TENANT_LIMIT if ended.tenant else Outcome.ADDRESS_LIMIT
    for beginning, outcome in _BY_DETAILS:
        if ended.details.startswith(beginning):
            return outcome
    if not ended.http_status:
        return Outcome.CANCELLED
    return _BY_HTTP.get(ended.http_status, Outcome.MALFORMED)


def _answered(ended: Ended) -> Outcome:
    """By the replica's own words: gRPC's where there are any, else HTTP's, which REST gets."""
    if ended.grpc_status == "0":
        return Outcome.ANSWERED
    if not ended.grpc_status:
        if ended.http_status in _HTTP_FAULTS:
            return Outcome.FAILED
        if ended.http_status == 504:
            return Outcome.DEADLINE
        return Outcome.REFUSED if ended.http_status >= 400 else Outcome.CANCELLED
    if ended.grpc_status in _FAULTS:
        return Outcome.FAILED
    if ended.grpc_status == _DEADLINE:
        return Outcome.DEADLINE
    return Outcome.CANCELLED if ended.grpc_status == _CANCELLED else Outcome.REFUSED
