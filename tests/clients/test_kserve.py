"""KServe's own Python clients, unmodified, in a process of their own."""

import json
from typing import Any

import numpy as np
import pytest

from tests.clients.cases import ROWS
from tests.conftest import MeshOf
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.controlled import EXPLICIT
from tests.support.mesh import Mesh
from tests.support.requests import Linear
from tests.support.small import write_scale
from tests.support.venvs import venv

REQUIREMENT = "kserve==0.21.0"
SCRIPT = ROOT / "tests" / "clients" / "scripts" / "kserve_clients.py"
CLIENTS = pytest.mark.parametrize("client", ["grpc", "rest", "rest_binary"])


@pytest.fixture(scope="module")
def report(mesh: Mesh, mesh_of: MeshOf) -> dict[str, Any]:
    """What the clients saw in one run."""
    controlled = mesh_of(EXPLICIT)
    write_scale(controlled.state_dir / "models", "kserved", 3.0)
    job = {
        "address": mesh.gateway,
        "token": mesh.demo_token,
        "rows": ROWS.tolist(),
        "controlled": controlled.gateway,
        "operator": controlled.operator_token,
        "model": "kserved",
    }
    result: dict[str, Any] = json.loads(output_of([venv(REQUIREMENT), SCRIPT], text=json.dumps(job)))
    return result


@CLIENTS
def test_server_and_model_are_live_and_ready(report: dict[str, Any], client: str) -> None:
    """InferenceGRPCClient, and InferenceRESTClient with protocol v2."""
    assert report[client]["live"]
    assert report[client]["ready"]
    assert report[client]["model_ready"]


@CLIENTS
def test_infer_answers_right_numbers(report: dict[str, Any], linear: Linear, client: str) -> None:
    """JSON, binary and gRPC tensors; the id comes back."""
    np.testing.assert_allclose(report[client]["answer"], linear(ROWS), rtol=1e-5, atol=1e-6)
    assert report[client]["id"] == "mine"


def test_a_model_that_nobody_knows(report: dict[str, Any]) -> None:
    """Not ready, NOT_FOUND, and our message over REST."""
    assert report["grpc"]["absent_ready"] is False
    assert report["grpc"]["absent"] == "NOT_FOUND"
    assert "no model 'absent'" in report["rest"]["absent"]


def test_the_first_protocol(report: dict[str, Any], linear: Linear) -> None:
    """Its client's default: instances and predictions, readiness, and our message for what nobody knows."""
    first = report["first"]
    np.testing.assert_allclose(first["answer"], linear(ROWS), rtol=1e-5, atol=1e-6)
    assert first["ready"] is True
    assert "no model 'absent'" in first["absent"]
    assert first["absent_ready"] is False or "404" in first["absent_ready"]


def test_its_dialect_of_load_and_unload(report: dict[str, Any]) -> None:
    """The messages of KServe's own proto: the name in field 1, and in the answer what became of it."""
    assert report["loaded"] == {"load": ["kserved", True], "ready": True, "unload": ["kserved", True]}
