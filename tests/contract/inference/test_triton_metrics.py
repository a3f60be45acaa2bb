"""Triton's metric names, as a dashboard made for Triton reads them."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from headrace.inference.settings import RepositorySettings
from headrace.inference.triton_metrics import COUNTS, DURATIONS, FAILED, PENDING
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.contract.inference.test_streams import scale, slow
from tests.support.models import SLOW, SLOW_CONFIG, slow_model
from tests.support.ports import free_port
from tests.support.small import write_onnx, write_scale
from tests.support.waiting import aeventually

STEPS = 500  # about 0.2 s

Samples = Mapping[tuple[str, str, str], float]


async def scraped(address: str) -> Samples:
    """Every sample of Triton's names, by name, model and, of failures, reason."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{address}/metrics")).text
    return {
        (sample.name, sample.labels["model"], sample.labels.get("reason", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("nv_")
    }


async def statistics(replica: Replica, name: str) -> pb.ModelStatistics:
    request = pb.ModelStatisticsRequest(name=name)
    return (await replica.stub.ModelStatistics(request, metadata=replica.bearer())).model_stats[0]


async def test_tritons_names_tell_what_model_statistics_does(tmp_path: Path) -> None:
    """Every count and duration is the same number, and failures add up to the failed requests."""
    write_scale(tmp_path / "models")
    write_onnx(tmp_path / "models", SLOW, slow_model(), config=SLOW_CONFIG)
    metrics = f"127.0.0.1:{free_port()}"
    folder = RepositorySettings(tmp_path / "models")
    async with running(tmp_path, repository=folder, metrics_listen=metrics) as one:
        for number in range(3):
            await one.stub.ModelInfer(scale(float(number)), metadata=one.bearer())
        wrong = scale(1.0)
        wrong.inputs[0].shape[1] = 3
        late = scale(1.0)
        late.parameters["timeout"].int64_param = 1
        for bad in (wrong, late):
            await failure(one.stub.ModelInfer(bad, metadata=one.bearer()))
        found = await scraped(metrics)
        told = await statistics(one, "scale")
        assert {name: found[name, "scale", ""] for name in COUNTS} == {
            name: count(told) for name, count in COUNTS.items()
        }
        assert {name: found[name, "scale", ""] for name in DURATIONS} == {
            name: ns(told.inference_stats) // 1000 for name, ns in DURATIONS.items()
        }
        reasons = {
            reason: value
            for (name, model, reason), value in found.items()
            if (name, model) == (FAILED, "scale")
        }
        assert reasons == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 1}
        assert sum(reasons.values()) == told.inference_stats.fail.count
        assert (told.inference_count, told.inference_stats.success.count) == (3, 3)
        await _what_waits_is_told(one, metrics)


async def _what_waits_is_told(one: Replica, metrics: str) -> None:
    """Behind a long run: its batch is no longer pending, the others are."""
    calls = [one.stub.ModelInfer(slow(STEPS), metadata=one.bearer()) for _ in range(20)]

    async def pending() -> bool:
        return 0 < (await scraped(metrics))[PENDING, SLOW, ""] < 20

    tasks = [asyncio.ensure_future(call) for call in calls]
    await aeventually(pending)
    for call in calls:
        call.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)  # some may have been cancelled before they arrived

    async def none() -> bool:
        found = await scraped(metrics)
        return found[PENDING, SLOW, ""] == 0 and found[FAILED, SLOW, "CANCELED"] > 0

    await aeventually(none)
