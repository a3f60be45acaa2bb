"""What a model's metrics count."""

import pytest
from prometheus_client import CollectorRegistry

from headrace.inference.statistics import InferenceMetrics, Statistics


def test_requests_are_timed_by_how_they_ended() -> None:
    """An answer and a failure are series of their own: refusals in no time must not flatter the latency."""
    registry = CollectorRegistry()
    statistics = Statistics("linear", "1", InferenceMetrics(registry))
    statistics.answered(3_000_000)
    statistics.answered(40_000_000)
    statistics.failed(10_000)

    def told(suffix: str, result: str, **labels: str) -> float | None:
        labels = {"model": "linear", "result": result, **labels}
        return registry.get_sample_value(f"headrace_inference_request_seconds_{suffix}", labels)

    assert (told("count", "ok"), told("count", "failed")) == (2, 1)
    assert (told("bucket", "ok", le="0.002"), told("bucket", "ok", le="0.005")) == (0, 1)
    assert told("sum", "ok") == pytest.approx(0.043)
