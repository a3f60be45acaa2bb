"""One request of the edge as a line of text: what Envoy is told to write, and what is read from it.

Its fields are apart by a line feed, the one character besides CR and NUL that no
header's value can hold (RFC 9110, 5.5): a client can't write into its neighbour's field.
"""

from typing import NoReturn

from headrace.metering.core.edge import VIA_UPSTREAM, Ended
from headrace.metering.core.joining import Entry

SEPARATOR = "\n"
FIELDS = (
    "%REQ(x-tenant-id)%",
    "%REQ(x-request-id)%",
    # The request's id stands for a key that is not there: Envoy's "-" may be a client's own key.
    "%REQ(idempotency-key?x-request-id)%",
    "%ROUTE_NAME%",
    "%RESPONSE_CODE%",
    "%RESPONSE_CODE_DETAILS%",
    # A trailer where there was an answer, a header where there was none.
    "%TRAILER(grpc-status)%",
    "%RESP(grpc-status)%",
    "%REQUEST_HEADERS_BYTES%",
    "%BYTES_RECEIVED%",
    "%RESPONSE_HEADERS_BYTES%",
    "%BYTES_SENT%",
)
"""Envoy's command operators, in the line's order."""
EDGE_LINE = SEPARATOR.join(FIELDS)
"""The line's format. No path, no token and no address is in it."""

MOST_BITS = 40
"""A size below a tebibyte: any number of them that is counted within a minute fits the book's 64 bits."""
_ABSENT = "-"


def read_line(line: str, second: int) -> Entry:
    """The request that began in this second (since 1970). Raises ValueError for what is no such line."""
    fields = line.split(SEPARATOR)
    if len(fields) != len(FIELDS):
        _refuse(fields)
    tenant, request_id, key, route, code, details, trailer, header, *sizes = fields
    received_headers, received, sent_headers, sent = map(int, sizes)
    if (received_headers | received | sent_headers | sent) >> MOST_BITS:
        raise ValueError("expected sizes of 0 to 2^40 bytes")
    tenant = "" if tenant == _ABSENT else tenant
    answered = trailer == "0" and details == VIA_UPSTREAM
    return Entry(
        second // 60 * 60,
        route,
        tenant,
        "" if request_id == _ABSENT else request_id,
        None if key == request_id else key,
        None if answered else _ended(details, header if trailer == _ABSENT else trailer, code, tenant),
        received_headers,
        received,
        sent_headers,
        sent,
    )


def _ended(details: str, status: str, code: str, tenant: str) -> Ended:
    return Ended(details, "" if status == _ABSENT else status, int(code), bool(tenant))


def _refuse(fields: list[str]) -> NoReturn:
    raise ValueError(f"expected {len(FIELDS)} fields, got {len(fields)}")
