"""Metrics: a histogram cheap enough for the hot path, and the /metrics endpoint.

prometheus_client's Histogram takes a lock and walks its buckets at every
observation (2-3 microseconds); an event loop's own counters need neither. The
exposition stays prometheus_client's.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip


class Series:
    """One label combination of a `LoopHistogram`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class LoopHistogram(Collector):
    """A histogram that only one thread observes.

    Labels must be bounded: model and method names, codes; never a request's text.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._buckets = tuple(buckets)
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def series(self, *labels: str) -> Series:
        """The series of these label values; keep it where it is used often."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Series(self._buckets)
        return found

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, series in list(self._series.items()):
            family.add_metric(labels, _cumulative(series), series.total)
        yield family


def _cumulative(series: Series) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip((*map(str, series.bounds), "+Inf"), series.counts, strict=True):
        seen += count
        rows.append((bound, seen))
    return rows
