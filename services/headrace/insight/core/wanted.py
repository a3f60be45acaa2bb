"""The metrics that figures are made of, by who tells them."""

from headrace.insight.core.exposition import Wanted

GATEWAY, INFERENCE, CACHE, GUARD, METERING = "gateway", "inference", "cache", "guard", "metering"

CALLS = "rpc_server_call_duration_seconds_count"
REQUEST_SECONDS = "headrace_inference_request_seconds_bucket"
QUEUE_SECONDS = "headrace_inference_queue_seconds_bucket"
COMPUTE_SECONDS = "headrace_inference_compute_seconds_bucket"
BATCH_ROWS, BATCHES = "headrace_inference_batch_rows_sum", "headrace_inference_batch_rows_count"
NEAR_ANSWERS = "headrace_cache_client_answers_total"
ADMITTED, REFUSED = "headrace_guard_admitted_total", "headrace_guard_refused_total"
ALONE = "headrace_guard_alone"
LOOKUPS = "headrace_cache_lookups_total"
BREAKER_STATE = "headrace_guard_breaker_state"
PAID = "headrace_metering_paid_nanos_total"
EDGE_REQUESTS = "envoy_http_downstream_rq_xx"
EDGE_MS = "envoy_http_downstream_rq_time_bucket"
EDGE_ACTIVE, EDGE_CONNECTIONS = "envoy_http_downstream_rq_active", "envoy_http_downstream_cx_active"

_EDGE = (("envoy_http_conn_manager_prefix", "edge"),)
"""Envoy's admin interface counts its own requests beside those of clients."""

WANTED = {
    GATEWAY: {
        EDGE_REQUESTS: Wanted(("envoy_response_code_class",), only=_EDGE),
        EDGE_MS: Wanted(("le",), only=_EDGE),
        EDGE_ACTIVE: Wanted(gauge=True, only=_EDGE),
        EDGE_CONNECTIONS: Wanted(gauge=True, only=_EDGE),
    },
    INFERENCE: {
        CALLS: Wanted(("rpc_response_status_code",)),
        REQUEST_SECONDS: Wanted(("model", "result", "le")),
        QUEUE_SECONDS: Wanted(("model", "le")),
        COMPUTE_SECONDS: Wanted(("model", "le")),
        BATCH_ROWS: Wanted(("model",)),
        BATCHES: Wanted(("model",)),
        NEAR_ANSWERS: Wanted(("level",)),
        ADMITTED: Wanted(),
        REFUSED: Wanted(),
        ALONE: Wanted(gauge=True),
    },
    CACHE: {LOOKUPS: Wanted(("level", "result"))},
    GUARD: {BREAKER_STATE: Wanted(("model", "state"), gauge=True)},
    METERING: {PAID: Wanted(("currency",))},
}
GAUGES = frozenset(name for metrics in WANTED.values() for name, rule in metrics.items() if rule.gauge)

ENVOY_PATH = (
    "/stats/prometheus?filter=^http\\.edge\\.downstream_(rq_time|rq_[1-5]xx|rq_active|cx_active)$"
    "&histogram_buckets=cumulative"
)
"""What to ask of Envoy's admin interface: without the filter it writes thousands of lines."""
