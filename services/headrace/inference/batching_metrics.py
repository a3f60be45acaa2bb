"""What became of requests in the queues, and what was padding, as metrics; read when somebody asks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from headrace.inference.models import Models

LABELS = ("model", "version")


class BatchingMetrics(Collector):
    """The counts of every version that serves; those of one that is loaded again begin anew."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def describe(self) -> Iterator[CounterMetricFamily]:
        """The families without samples."""
        return iter(self._families())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """One sample for each version and kind."""
        ended, cells, mixed_up, waits, wait_s, misses = families = self._families()
        for model in self._models.all():
            counts, labels = model.executor.history.counts, [model.name, model.version]
            for how in ("refused_full", "refused_infeasible", "expired", "left"):
                ended.add_metric([*labels, how], getattr(counts, how))
            cells.add_metric([*labels, "sent"], counts.cells - counts.padded)
            cells.add_metric([*labels, "padding"], counts.padded)
            mixed_up.add_metric(labels, counts.mixed_up)
            waits.add_metric(labels, counts.slot_waits)
            wait_s.add_metric(labels, counts.slot_wait_s)
            misses.add_metric(labels, counts.slot_misses)
        yield from families

    def _families(self) -> list[CounterMetricFamily]:
        return [
            CounterMetricFamily(
                "headrace_inference_not_executed",
                "Requests that the queue refused, that became too late in it, or that left it.",
                labels=(*LABELS, "how"),
            ),
            CounterMetricFamily(
                "headrace_inference_cells",
                "Positions (rows x padded length) that a model computed whose requests differ in length.",
                labels=(*LABELS, "kind"),
            ),
            CounterMetricFamily(
                "headrace_inference_mixed_up",
                "Answers that came back for another request; none of them is handed out.",
                labels=LABELS,
            ),
            CounterMetricFamily(
                "headrace_inference_slot_waits",
                "Batches that waited for a slot of those that the model's replicas on this machine share.",
                labels=LABELS,
            ),
            CounterMetricFamily(
                "headrace_inference_slot_wait_seconds",
                "How long they waited; it is part of their requests' time in the queue.",
                labels=LABELS,
            ),
            CounterMetricFamily(
                "headrace_inference_slot_misses",
                "Those of them that got none in time, and ran without.",
                labels=LABELS,
            ),
        ]
