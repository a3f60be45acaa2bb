"""Between Envoy's two forms of an access log and our own values. Nothing of a path, a token or an address is taken over.

The gateway sends OTLP's, which costs it less (ADR 11); a gateway of one's own may send either.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from headrace.metering.core.edge import VIA_UPSTREAM, Ended
from headrace.metering.core.edge_line import read_line
from headrace.metering.core.joining import Entry
from headrace.metering.envoy.data.accesslog.v3.accesslog_pb2 import HTTPResponseProperties
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

TENANT_HEADER, KEY_HEADER, STATUS = "x-tenant-id", "idempotency-key", "grpc-status"
NANOS = 1_000_000_000


@dataclass(slots=True)
class Lines:
    """The requests of an OTLP message, and how many of its records are none: `problem` says why the last is not."""

    entries: list[Entry] = field(default_factory=list)
    refused: int = 0
    problem: str = ""


def lines_of(request: ExportLogsServiceRequest) -> Lines:
    """The requests of a message. Every request of the edge is in one: what is looked at here costs each of them."""
    found = Lines()
    add = found.entries.append
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                try:
                    add(read_line(record.body.string_value, record.time_unix_nano // NANOS))
                except ValueError as error:
                    found.refused += 1
                    found.problem = str(error)
    return found


def entries_of(message: StreamAccessLogsMessage) -> Iterator[Entry]:
    """The requests of a batch of Envoy's own form."""
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
