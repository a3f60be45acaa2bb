"""What the gateway tells of each request: to a file that a person reads, to metering which counts.

Neither has a token, a query or a body. Pure: Envoy's configuration as values.
"""

from pathlib import Path

from headrace.metering.client import EDGE_LINE

LOG_NAME = "edge"

_FILE_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    # Without the query: a key in an address would stay in the log.
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "tenant": "%REQ(X-TENANT-ID)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "trace_id": "%TRACE_ID%",
    "replica": "%UPSTREAM_HOST%",
}


def access_logs(file: Path | None, *, metered: bool) -> list[object]:
    """Envoy's access loggers; `file` is None for no file, `metered` says whether metering is there to count."""
    return [*([_file(file)] if file else ()), *([_lines()] if metered else ())]


def _file(path: Path) -> object:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": _FILE_FIELDS},
        },
    }


def _lines() -> object:
    """To metering's Unix socket, by OTLP: a line of what metering counts, and when the request began."""
    return {
        "name": "envoy.access_loggers.open_telemetry",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig",
            # It sends 16 KiB at once, and each second: Envoy 1.40 heeds no other bounds beside `grpc_service`.
            "grpc_service": {"envoy_grpc": {"cluster_name": "metering"}},
            "log_name": LOG_NAME,
            # Who logs is known; the labels would be built for every batch.
            "disable_builtin_labels": True,
            "body": {"string_value": EDGE_LINE},
        },
    }
