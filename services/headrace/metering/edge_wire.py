"""Between Envoy's access log and our own values. Nothing of a path, a token or an address is taken over."""

from collections.abc import Iterator

from headrace.metering.core.edge import VIA_UPSTREAM, Ended
from headrace.metering.core.joining import Entry
from headrace.metering.envoy.data.accesslog.v3.accesslog_pb2 import HTTPResponseProperties
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

TENANT_HEADER, KEY_HEADER, STATUS = "x-tenant-id", "idempotency-key", "grpc-status"


def entries_of(message: StreamAccessLogsMessage) -> Iterator[Entry]:
    """The requests of a batch. Every request of the edge is in one: what is looked at here costs each of them."""
    for entry in message.http_logs.log_entry:
        common, came, went = entry.common_properties, entry.request, entry.response
        headers = came.request_headers
        tenant = headers.get(TENANT_HEADER, "")
        # A trailer where there was an answer.
        answered = went.response_trailers.get(STATUS) == "0" and went.response_code_details == VIA_UPSTREAM
        yield Entry(
            common.start_time.seconds // 60 * 60,
            common.route_name,
            tenant,
            came.request_id,
            headers.get(KEY_HEADER) if len(headers) > 1 else None,
            None if answered else _ended(went, tenant),
            came.request_headers_bytes,
            came.request_body_bytes,
            went.response_headers_bytes,
            went.response_body_bytes,
        )


def _ended(went: HTTPResponseProperties, tenant: str) -> Ended:
    status = went.response_trailers.get(STATUS) or went.response_headers.get(STATUS, "")
    return Ended(went.response_code_details, status, went.response_code.value, bool(tenant))
