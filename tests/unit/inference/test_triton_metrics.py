"""Triton's metric names, each from the count that Triton says."""

from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from headrace.inference import errors
from headrace.inference.batch import Batch, Ticket
from headrace.inference.core.cutting import Cut
from headrace.inference.execution import Answer, Executed, Work
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.triton_metrics import TritonMetrics
from headrace.runtime.rpc import ANONYMOUS, Call

US = 1000  # nanoseconds

EXPECTED = {
    "nv_inference_request_success": 1,
    "nv_inference_count": 3,
    "nv_inference_exec_count": 2,
    "nv_inference_pending_request_count": 7,
    "nv_inference_request_duration_us": 900,
    "nv_inference_queue_duration_us": 30,
    "nv_inference_compute_input_duration_us": 1,
    "nv_inference_compute_infer_duration_us": 20,
    "nv_inference_compute_output_duration_us": 4,
    "nv_cache_num_hits_per_model": 1,
    "nv_cache_num_misses_per_model": 2,
    "nv_cache_hit_duration_us": 50,
    "nv_cache_miss_duration_us": 1300,
}
"""No two of them are alike, but for what is one."""


def counted() -> Statistics:
    """A version that did a little of everything."""
    statistics = Statistics("m", "2", InferenceMetrics(CollectorRegistry()))
    ticket = Ticket(3, (), 0.0, None, Work(3, [], []), Call("/a", {}, ANONYMOUS, 0.0), cast("Any", None))
    done = Executed([Answer([], [])], 30 * US, 31 * US, 51 * US, 55 * US, runs=2)
    statistics.executed(Batch([ticket], Cut([ticket], 3, "idle"), 0.0, done), 1)
    statistics.answered(900 * US)
    statistics.failed(11 * US, errors.execution_failed("m"))
    statistics.looked_up(50 * US, hit=True)
    statistics.looked_up(600 * US, hit=False)
    statistics.looked_up(700 * US, hit=False)
    return statistics


def test_each_name_is_the_count_that_triton_says() -> None:
    """With the labels model and version; of failures one sample for each reason."""
    serving = SimpleNamespace(name="m", version="2", executor=SimpleNamespace(waiting=7))
    models = SimpleNamespace(counted=lambda: [counted()], all=lambda: [serving])
    samples = [sample for metric in TritonMetrics(cast("Any", models)).collect() for sample in metric.samples]
    assert all((sample.labels["model"], sample.labels["version"]) == ("m", "2") for sample in samples)
    failures = {s.labels.pop("reason"): s.value for s in samples if s.name == "nv_inference_request_failure"}
    assert failures == {"REJECTED": 0, "CANCELED": 0, "BACKEND": 1, "OTHER": 0}
    rest = {sample.name: sample.value for sample in samples if sample.name != "nv_inference_request_failure"}
    assert rest == EXPECTED


def test_a_registry_is_told_every_name_before_there_is_a_model() -> None:
    """So that no other metric takes one of them."""
    models = SimpleNamespace(counted=list, all=list)
    names = {metric.name for metric in TritonMetrics(cast("Any", models)).describe()}
    assert names == {*EXPECTED, "nv_inference_request_failure"}
