"""The edge's requests for metering's tests: as the join takes them and in both forms in which Envoy logs them."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from headrace.metering.core.edge import Ended
from headrace.metering.core.joining import Entry, Event
from headrace.metering.envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from headrace.metering.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from tests.fakes.metering import NOON_MS

NOON_S = NOON_MS // 1000
GONE = Ended("http2.remote_reset", "", 0, tenant=True)


def entry(
    request_id: str = "r1",
    *,
    tenant: str = "acme",
    client_key: str | None = None,
    ended: Ended | None = None,
    route: str = "infer",
    received: int = 105,
    sent: int = 105,
    minute: int = NOON_S,
) -> Entry:
    """An answered request whose bytes are those of `metering.event`, framed."""
    return Entry(minute, route, tenant, request_id, client_key, ended, 400, received, 130, sent)


def booked(*, tenant: str = "acme", model: str = "linear", received: int = 100, sent: int = 100) -> Event:
    """Its event."""
    return Event(NOON_S, tenant, model, received, sent)


def logged(
    request_id: str,
    *,
    status: str = "0",
    tenant: str = "acme",
    client_key: str = "",
    details: str = "via_upstream",
    path: str = "/inference.GRPCInferenceService/ModelInfer",
    route: str = "infer",
) -> HTTPAccessLogEntry:
    """An entry as Envoy sends it."""
    entry = HTTPAccessLogEntry()
    entry.common_properties.start_time.seconds = NOON_S + 7
    entry.common_properties.route_name = route
    entry.request.path = path
    entry.request.request_id = request_id
    entry.request.request_headers_bytes = 400
    entry.request.request_body_bytes = 105
    if tenant:
        entry.request.request_headers["x-tenant-id"] = tenant
    if client_key:
        entry.request.request_headers["idempotency-key"] = client_key
    entry.response.response_code.value = 200
    entry.response.response_headers_bytes = 130
    entry.response.response_code_details = details
    if status == "0":
        entry.response.response_body_bytes = 105
        entry.response.response_trailers["grpc-status"] = status
    elif status:
        entry.response.response_headers["grpc-status"] = status
    return entry


def line(
    request_id: str,
    *,
    status: str = "0",
    tenant: str = "acme",
    client_key: str = "",
    details: str = "via_upstream",
    route: str = "infer",
) -> str:
    """The same as the line that the gateway sends."""
    answered, shown = status == "0", request_id or "-"
    statuses = (status, "-") if answered else ("-", status or "-")
    sizes = ("400", "105", "130", "105" if answered else "0")
    fields = (tenant or "-", shown, client_key or shown, route, "200", details, *statuses, *sizes)
    return "\n".join(fields)


def exported(*lines: str) -> ExportLogsServiceRequest:
    """A batch of lines."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for text in lines:
        record = records.add(time_unix_nano=(NOON_S + 7) * 1_000_000_000)
        record.body.string_value = text
    return request


def message(*entries: HTTPAccessLogEntry) -> StreamAccessLogsMessage:
    """A batch of them."""
    return StreamAccessLogsMessage(http_logs=StreamAccessLogsMessage.HTTPAccessLogEntries(log_entry=entries))
