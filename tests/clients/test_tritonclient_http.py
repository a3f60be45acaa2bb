"""Triton's own Python client over HTTP, unmodified, in a process of its own."""

import json
from typing import Any

import pytest

from tests.clients.cases import TRITON, UNKNOWN, cases, check_answers
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.mesh import Mesh
from tests.support.requests import Linear
from tests.support.venvs import venv

SCRIPT = ROOT / "tests" / "clients" / "scripts" / "triton_http.py"


@pytest.fixture(scope="module")
def report(mesh: Mesh) -> dict[str, Any]:
    """What the client saw in one run."""
    job = {"address": mesh.gateway, "token": mesh.demo_token, "cases": cases()}
    result: dict[str, Any] = json.loads(output_of([venv(TRITON), SCRIPT], text=json.dumps(job)))
    return result


def test_server_and_models_are_live_ready_and_described(report: dict[str, Any]) -> None:
    """The health and metadata addresses answer as this client asks them, `v2` without a slash included."""
    assert report["live"]
    assert report["ready"]
    assert report["server"]["name"]
    assert all(report["models_ready"].values()), report["models_ready"]
    assert report["metadata"]["linear"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]


def test_infer_with_json_tensors(report: dict[str, Any], linear: Linear) -> None:
    """Infer with binary_data=False answers right numbers on all six demo models."""
    check_answers(report["json"], linear)


def test_infer_with_binary_tensors(report: dict[str, Any], linear: Linear) -> None:
    """Infer with binary_data=True, this client's default, answers right numbers on all six demo models."""
    check_answers(report["binary"], linear)


def test_unknown_model_raises_with_our_message(report: dict[str, Any]) -> None:
    """Infer on a model that does not exist raises with our message: the answer is {"error": …}, not Envoy's form."""
    for form in ("json", "binary"):
        unknown = report[form][-1]
        assert UNKNOWN in unknown["error"]
        assert unknown["status"] == "404"
