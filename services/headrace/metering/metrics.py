"""Metering's own metrics, defined once."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from headrace.metering.core.edge import Outcome
from headrace.metering.core.edge_book import Counts
from headrace.metering.core.joining import Found
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


class EdgeMetrics:
    """What the edge's access log says, and how it compares with the ledger."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "headrace_edge_requests",
            "Requests that ended at the gateway, by how.",
            ["outcome"],
            registry=registry,
        )
        self._bytes = Counter(
            "headrace_edge_bytes",
            "Bytes of headers and bodies at the gateway.",
            ["direction"],
            registry=registry,
        )
        self._compared = Counter(
            "headrace_edge_compared",
            "The gateway's requests and the ledger's events, by what they found of each other.",
            ["result"],
            registry=registry,
        )
        self._dropped = Counter(
            "headrace_edge_dropped", "Requests that there was no room to count.", registry=registry
        )
        self._waiting = Gauge(
            "headrace_edge_waiting", "Requests and events that have not met yet.", registry=registry
        )

    def counted(self, counts: Counts, found: Found) -> None:
        """Adds what was kept."""
        for (_, _, outcome), (requests, received, sent) in counts.items():
            self._requests.labels(Outcome(outcome).name.lower()).inc(requests)
            self._bytes.labels("received").inc(received)
            self._bytes.labels("sent").inc(sent)
        for compared in found.values():
            for result in ("matched", "bytes_differ", "edge_only", "ledger_only"):
                self._compared.labels(result).inc(getattr(compared, result))

    def told(self, waiting: int, dropped: int) -> None:
        """How many wait, and how many requests were dropped since the last time."""
        self._waiting.set(waiting)
        self._dropped.inc(dropped)
