"""The figures of a whole mesh: what they tell is what was sent."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import grpc
import httpx
import numpy as np
import pytest

from headrace.insight.v1.insight_service_pb2 import GetOverviewRequest
from headrace.insight.v1.overview_pb2 import HistoryPoint, Overview, ProcessHealth
from tests.support.mesh import Mesh, headrace
from tests.support.place import Place
from tests.support.requests import distinct_rows, linear
from tests.support.waiting import eventually

pytestmark = pytest.mark.mesh

ANSWERED, REFUSED = 137, 3


def overview(mesh: Mesh) -> Overview:
    with mesh.insight() as stub:
        token = (("authorization", f"Bearer {mesh.operator_token}"),)
        return stub.GetOverview(GetOverviewRequest(history=True), metadata=token, timeout=10).overview


def seconds(points: Sequence[HistoryPoint]) -> list[float]:
    """How long each point is; they meet. The first one's begin is not told, and nothing was sent in it."""
    ends = [point.time.ToNanoseconds() for point in points]
    return [0.0, *((later - earlier) / 1e9 for earlier, later in pairwise(ends))]


def total(points: Sequence[HistoryPoint], field: Literal["requests_per_s", "failed_per_s"]) -> float:
    """What a rate of the history comes to."""
    return sum(
        getattr(point, field) * length
        for point, length in zip(points, seconds(points), strict=True)
        if point.HasField(field)
    )


def health(found: Overview) -> Mapping[str, int]:
    return {process.name: process.health for process in found.processes}


def test_figures_are_what_was_sent(place: Place) -> None:
    """Requests, failures, cost, and who answers; then a service is lost, and its figures with it."""
    document = place.up()
    mesh = Mesh(document["gateway"], document["services"], place.state.root)
    try:
        found = eventually(lambda: _settled(overview(mesh)), "every process was read twice", 20)
        assert set(health(found)) == {
            "gateway",
            "inference-0",
            "cache",
            "guard",
            "metering",
            "insight",
            "scaling",
        }
        _send(mesh)
        found = eventually(lambda: _told(overview(mesh)), "all requests are in the figures", 20)
        assert round(total(found.history, "requests_per_s"), 3) == ANSWERED + REFUSED
        assert round(total(found.history, "failed_per_s"), 3) == REFUSED
        (model,) = (one for one in found.models if one.model == "linear")
        assert model.latency.HasField("p95")
        assert not model.queue.HasField("p99") or model.batch_rows >= 1
        assert found.breakers.breakers == []
        _loses_guard(mesh)
    finally:
        place.down()


def test_a_program_is_told_once(mesh: Mesh) -> None:
    """`headrace top --json`: one document; without a terminal, the tables, once."""
    document = json.loads(headrace("top", "--json", "--state-dir", mesh.state_dir))
    assert {"processes", "gateway", "models", "cache", "limits", "breakers", "cost"} <= document.keys()
    assert {process["health"] for process in document["processes"]} == {"up"}
    text = headrace("top", "--state-dir", mesh.state_dir)
    assert "linear" in text
    assert "\x1b" not in text


def test_a_prometheus_may_read_the_list(mesh: Mesh) -> None:
    """Each address of run/targets.json answers with metrics."""
    groups: list[dict[str, Any]] = json.loads((mesh.state_dir / "run" / "targets.json").read_text())
    assert {group["labels"]["service"] for group in groups} == {
        *("inference", "cache", "guard", "metering", "insight", "scaling")
    }
    for group in groups:
        for target in group["targets"]:
            assert "# TYPE" in httpx.get(f"http://{target}/metrics", timeout=10).raise_for_status().text


def _settled(found: Overview) -> Overview | None:
    up = {ProcessHealth.PROCESS_HEALTH_UP} == set(health(found).values())
    rates = found.models and found.models[0].HasField("requests_per_s")
    return found if up and rates and found.HasField("cost") else None


def _send(mesh: Mesh) -> None:
    token = (("authorization", f"Bearer {mesh.demo_token}"),)
    with mesh.inference() as stub:
        for row in distinct_rows(ANSWERED):
            stub.ModelInfer(linear(row[None]), metadata=token, timeout=10)
        for _ in range(REFUSED):
            with pytest.raises(grpc.RpcError):
                stub.ModelInfer(linear(np.zeros((1, 3), np.float32)), metadata=token, timeout=10)


def _told(found: Overview) -> Overview | None:
    booked = sum(cost.nanos_per_minute for cost in found.cost.currencies) > 0
    return found if booked and total(found.history, "requests_per_s") > ANSWERED else None


def _loses_guard(mesh: Mesh) -> None:
    """Stopped, not ended: it takes connections and says nothing, as a process that hangs."""
    (pid,) = mesh.pids("guard")
    os.kill(pid, signal.SIGSTOP)
    try:
        stale = (ProcessHealth.PROCESS_HEALTH_STALE, ProcessHealth.PROCESS_HEALTH_DOWN)
        found = eventually(
            lambda: one if health(one := overview(mesh)).get("guard") in stale else None, "guard is stale", 20
        )
        assert not found.HasField("breakers")
        assert health(found)["inference-0"] == ProcessHealth.PROCESS_HEALTH_UP
    finally:
        os.kill(pid, signal.SIGCONT)
