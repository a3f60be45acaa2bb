"""What a model's metrics count."""

from asyncio import CancelledError

import pytest
from prometheus_client import CollectorRegistry

from headrace.inference import errors
from headrace.inference.statistics import FAILURES, InferenceMetrics, Statistics


def test_requests_are_timed_by_how_they_ended() -> None:
    """An answer and a failure are series of their own: refusals in no time must not flatter the latency."""
    registry = CollectorRegistry()
    statistics = Statistics("linear", "1", InferenceMetrics(registry))
    statistics.answered(3_000_000)
    statistics.answered(40_000_000)
    statistics.failed(10_000, CancelledError())

    def told(suffix: str, result: str, **labels: str) -> float | None:
        labels = {"model": "linear", "result": result, **labels}
        return registry.get_sample_value(f"headrace_inference_request_seconds_{suffix}", labels)

    assert (told("count", "ok"), told("count", "failed")) == (2, 1)
    assert (told("bucket", "ok", le="0.002"), told("bucket", "ok", le="0.005")) == (0, 1)
    assert told("sum", "ok") == pytest.approx(0.043)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (errors.queue_full("m", 1), "REJECTED"),
        (errors.deadline_infeasible("m", 0.1), "REJECTED"),
        (errors.deadline_exceeded("queue"), "REJECTED"),
        (CancelledError(), "CANCELED"),
        (errors.execution_failed("m"), "BACKEND"),
        (errors.tensor_invalid("m", "inputs", "none"), "OTHER"),
        (ValueError("a mistake of ours"), "OTHER"),
    ],
)
def test_a_failure_has_tritons_word(error: BaseException, failure: str) -> None:
    """Who was turned away or left says nothing of the model; all of them together are the failed requests."""
    statistics = Statistics("m", "1", InferenceMetrics(CollectorRegistry()))
    statistics.failed(1, error)
    assert statistics.failures == {name: int(name == failure) for name in FAILURES}
    assert statistics.message().inference_stats.fail.count == 1
