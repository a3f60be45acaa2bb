"""Triton's own metric names, so that its dashboards and scalers find what they look for.

Read from ModelStatistics when somebody asks: both tell the same counts, and no
request pays for them. The names are what Triton's docs/user_guide/metrics.md lists.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from headrace.inference.models import Models
from headrace.inference.statistics import FAILURES
from headrace.inference.v2.grpc_service_pb2 import InferStatistics, ModelStatistics

LABELS = ("model", "version")
PENDING = "nv_inference_pending_request_count"
FAILED = "nv_inference_request_failure"

COUNTS: dict[str, Callable[[ModelStatistics], int]] = {
    "nv_inference_request_success": lambda model: model.inference_stats.success.count,
    "nv_inference_count": lambda model: model.inference_count,
    "nv_inference_exec_count": lambda model: model.execution_count,
    "nv_cache_num_hits_per_model": lambda model: model.inference_stats.cache_hit.count,
    "nv_cache_num_misses_per_model": lambda model: model.inference_stats.cache_miss.count,
}

DURATIONS: dict[str, Callable[[InferStatistics], int]] = {
    "nv_inference_request_duration_us": lambda stats: stats.success.ns,
    "nv_inference_queue_duration_us": lambda stats: stats.queue.ns,
    "nv_inference_compute_input_duration_us": lambda stats: stats.compute_input.ns,
    "nv_inference_compute_infer_duration_us": lambda stats: stats.compute_infer.ns,
    "nv_inference_compute_output_duration_us": lambda stats: stats.compute_output.ns,
    "nv_cache_hit_duration_us": lambda stats: stats.cache_hit.ns,
    "nv_cache_miss_duration_us": lambda stats: stats.cache_miss.ns,
}


class TritonMetrics(Collector):
    """The counts of every version that serves or ever did, and what waits now."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def describe(self) -> Iterator[Metric]:
        """The families without samples."""
        return iter(_families().values())

    def collect(self) -> Iterator[Metric]:
        """One sample for each version; of failures one for each reason."""
        families = _families()
        for statistics in self._models.counted():
            told = statistics.message()
            labels = {"model": told.name, "version": told.version}
            for name, count in COUNTS.items():
                families[name].add_sample(name, labels, count(told))
            for name, ns in DURATIONS.items():
                families[name].add_sample(name, labels, ns(told.inference_stats) // 1000)
            for reason in FAILURES:
                families[FAILED].add_sample(FAILED, {**labels, "reason": reason}, statistics.failures[reason])
        for model in self._models.all():
            labels = {"model": model.name, "version": model.version}
            families[PENDING].add_sample(PENDING, labels, model.executor.waiting)
        yield from families.values()


def _families() -> dict[str, Metric]:
    # Untyped, although they count: prometheus_client would write `_total` behind a counter's name.
    families: dict[str, Metric] = {
        name: UnknownMetricFamily(name, f"As Triton's: {name}.", labels=LABELS)
        for name in (*COUNTS, *DURATIONS)
    }
    families[FAILED] = UnknownMetricFamily(FAILED, f"As Triton's: {FAILED}.", labels=(*LABELS, "reason"))
    families[PENDING] = GaugeMetricFamily(PENDING, "Requests in the model's queue.", labels=LABELS)
    return families
