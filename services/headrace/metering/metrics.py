"""Metering's own metrics, defined once."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace.runtime.metrics import LoopHistogram

COMMIT_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class MeteringMetrics:
    """Counts what came and what became of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.recorded = Counter(
            "headrace_metering_events_recorded", "Events that were stored.", registry=registry
        )
        self.repeated = Counter(
            "headrace_metering_events_repeated",
            "Events that came again and were stored before: an answer was lost, or an outbox was replayed.",
            registry=registry,
        )
        self.unpaid = Counter(
            "headrace_metering_events_unpaid",
            "Stored events on the waste account: failed, or billed before.",
            registry=registry,
        )
        self.paid = Counter(
            "headrace_metering_paid_nanos",
            "What tenants pay for the stored events, in nano-units of the currency (exact up to 9 million units).",
            ("currency",),
            registry=registry,
        )
        self.lost = Counter(
            "headrace_metering_events_lost",
            "Events that a source had and will never send: lost with the power, or with a restored ledger.",
            registry=registry,
        )
        self.failures = Counter(
            "headrace_metering_commit_failures", "Transactions that were undone.", registry=registry
        )
        self.waiting = Gauge(
            "headrace_metering_waiting_events", "Events that wait for the ledger.", registry=registry
        )
        self.commit_seconds = LoopHistogram(
            "headrace_metering_commit_seconds", "Time of a transaction.", (), COMMIT_BUCKETS, registry
        ).series()
