"""What a holder of leases tells about itself; counted with the leases, not at each request."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.guard.core.book import LeaseBook


class HolderCollector(Collector):
    """Reads the book when it is asked for metrics."""

    def __init__(self, book: LeaseBook) -> None:
        self._book = book

    def collect(self) -> Iterator[Metric]:
        book = self._book
        tally = book.tally
        yield GaugeMetricFamily(
            "headrace_guard_alone",
            "1 while requests are admitted without the guard.",
            value=float(book.alone),
        )
        yield GaugeMetricFamily(
            "headrace_guard_tenants", "Tenants that requests came from of late.", value=len(book.holdings)
        )
        yield CounterMetricFamily("headrace_guard_admitted", "Requests admitted.", value=tally.admitted)
        yield CounterMetricFamily(
            "headrace_guard_refused", "Requests refused by a limit.", value=tally.refused
        )
        yield CounterMetricFamily("headrace_guard_asked", "Frames that asked the guard.", value=tally.asked)
        yield CounterMetricFamily("headrace_guard_lost", "Times that the guard was lost.", value=tally.lost)
