"""Insight's own metrics, defined once."""

from prometheus_client import CollectorRegistry, Counter, Gauge

QUEUE_FULL = "queue_full"
INVALID = "invalid"
TRACE_RATE = "trace_rate"
TRACE_FULL = "trace_full"
DUPLICATE = "duplicate"
STORE_FAILED = "store_failed"

REFUSED = "refused"
UNANSWERED = "unanswered"
STOPPED = "stopped"

BYTES = "bytes"
AGE = "age"


class InsightMetrics:
    """Counts what came, what was kept, and why the rest was not."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.received = Counter("headrace_insight_spans_received", "Spans that arrived.", registry=registry)
        self.stored = Counter("headrace_insight_spans_stored", "Spans that were stored.", registry=registry)
        self.dropped = Counter(
            "headrace_insight_spans_dropped",
            "Spans that arrived and were not stored.",
            ("reason",),
            registry=registry,
        )
        self.traces_dropped = Counter(
            "headrace_insight_traces_dropped",
            "Parts of traces above the kept rate: one for each trace and transaction.",
            registry=registry,
        )
        self.traces_evicted = Counter(
            "headrace_insight_traces_evicted",
            "Stored traces that made room or grew old.",
            ("reason",),
            registry=registry,
        )
        self.queue_bytes = Gauge(
            "headrace_insight_queue_bytes", "Bytes that wait to be stored.", registry=registry
        )
        self.store_bytes = Gauge(
            "headrace_insight_store_bytes", "Bytes in use by the store.", registry=registry
        )
        self.forwarded = Counter(
            "headrace_insight_spans_forwarded",
            "Spans that a receiver took.",
            ("receiver",),
            registry=registry,
        )
        self.forward_dropped = Counter(
            "headrace_insight_forward_dropped_spans",
            "Spans that a receiver did not get.",
            ("receiver", "reason"),
            registry=registry,
        )
        self.forward_queue_bytes = Gauge(
            "headrace_insight_forward_queue_bytes",
            "Bytes that wait for a receiver.",
            ("receiver",),
            registry=registry,
        )
        for reason in (QUEUE_FULL, INVALID, TRACE_RATE, TRACE_FULL, DUPLICATE, STORE_FAILED):
            self.dropped.labels(reason)
        for reason in (BYTES, AGE):
            self.traces_evicted.labels(reason)
