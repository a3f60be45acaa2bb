"""Triton's own Python client over gRPC, unmodified, in a process of its own."""

import json
from typing import Any

import numpy as np
import pytest

from tests.clients.cases import ROWS, TRITON, UNKNOWN, cases, check_answers
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.mesh import Mesh
from tests.support.requests import Linear
from tests.support.venvs import venv

SCRIPT = ROOT / "tests" / "clients" / "scripts" / "triton_grpc.py"
DEMO_MODELS = {"linear", "linear-cached", "magika", "minilm", "minilm-encoder", "minilm-tokenizer"}
CONCURRENT = 32


@pytest.fixture(scope="module")
def report(mesh: Mesh) -> dict[str, Any]:
    """What the client saw in one run."""
    rows = ROWS[[number % len(ROWS) for number in range(CONCURRENT)]]
    concurrent = [
        {"model": "linear", "inputs": {"x": {"datatype": "FP32", "data": [row.tolist()]}}} for row in rows
    ]
    job = {"address": mesh.gateway, "token": mesh.demo_token, "cases": cases(), "concurrent": concurrent}
    printed = output_of([venv(TRITON), SCRIPT], text=json.dumps(job))
    result: dict[str, Any] = json.loads(printed)
    return result


def test_server_is_live_and_ready_and_tells_its_name(report: dict[str, Any]) -> None:
    """is_server_live, is_server_ready and get_server_metadata work through the gateway."""
    assert report["live"]
    assert report["ready"]
    assert report["server"]["name"]
    assert report["server"]["version"]


def test_every_demo_model_is_ready_and_described(report: dict[str, Any]) -> None:
    """is_model_ready, get_model_metadata, get_model_config and the index know all six demo models."""
    assert report["models_ready"] == dict.fromkeys(DEMO_MODELS, True)
    assert {model["name"] for model in report["index"]["models"]} >= DEMO_MODELS
    for model in DEMO_MODELS:
        assert report["metadata"][model]["inputs"], model
        assert report["config"][model]["config"]["name"] == model
    assert report["metadata"]["linear"]["inputs"][0] == {
        "name": "x",
        "datatype": "FP32",
        "shape": ["-1", "16"],
    }
    assert report["metadata"]["minilm"]["outputs"][0]["shape"] == ["-1", "384"]


def test_every_demo_model_infers(report: dict[str, Any], linear: Linear) -> None:
    """Infer answers right numbers on all six demo models."""
    check_answers(report["answers"], linear)


def test_unknown_model_raises_not_found(report: dict[str, Any]) -> None:
    """Infer on a model that does not exist raises NOT_FOUND with a message that names it."""
    unknown = report["answers"][-1]
    assert unknown["status"] == "StatusCode.NOT_FOUND"
    assert UNKNOWN in unknown["error"]


def test_asynchronous_client_gets_each_answer_to_its_own_call(report: dict[str, Any], linear: Linear) -> None:
    """Concurrent calls of tritonclient.grpc.aio each get their own rows' answer."""
    expected = linear(ROWS)
    for number, answer in enumerate(report["concurrent"]):
        np.testing.assert_allclose(answer["y"], [expected[number % len(ROWS)]], rtol=1e-5, atol=1e-6)


def test_statistics_count_what_was_inferred(report: dict[str, Any]) -> None:
    """get_inference_statistics counts the rows that this client has sent."""
    (statistics,) = report["statistics"]["model_stats"]
    assert int(statistics["inference_count"]) >= len(ROWS) + CONCURRENT
