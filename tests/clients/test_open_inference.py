"""The protocol's own clients (generated from its proto and its OpenAPI), unmodified, in a process of their own."""

import json
from typing import Any

import numpy as np
import pytest

from tests.clients.cases import ROWS
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.mesh import Mesh
from tests.support.requests import Linear
from tests.support.venvs import venv

REQUIREMENTS = ("numpy", "protobuf", "open-inference-grpc==2.0.0", "open-inference-openapi==2.0.0.1")
SCRIPT = ROOT / "tests" / "clients" / "scripts" / "open_inference_clients.py"


@pytest.fixture(scope="module")
def report(mesh: Mesh) -> dict[str, Any]:
    """What the clients saw in one run."""
    job = {"address": mesh.gateway, "token": mesh.demo_token, "rows": ROWS.tolist()}
    result: dict[str, Any] = json.loads(output_of([venv(*REQUIREMENTS), SCRIPT], text=json.dumps(job)))
    return result


@pytest.mark.parametrize("client", ["grpc", "rest"])
def test_metadata_and_infer(report: dict[str, Any], linear: Linear, client: str) -> None:
    """Both describe the model the same, and answer right numbers."""
    assert report[client]["server"] == "headrace"
    assert report[client]["inputs"] == [["x", "FP32", [-1, 16]]]
    np.testing.assert_allclose(report[client]["answer"], linear(ROWS), rtol=1e-5, atol=1e-6)


def test_health(report: dict[str, Any]) -> None:
    """Live and ready by gRPC; by REST the calls return, and one for an unknown model raises."""
    assert (report["grpc"]["live"], report["grpc"]["ready"], report["grpc"]["model_ready"]) == (True,) * 3
    assert report["rest"]["absent"][1] == 404
