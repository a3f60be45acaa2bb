"""Node's grpc-js with our proto files, in a process of its own."""

import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.mesh import Mesh
from tests.support.node import Node, wheel_node
from tests.support.requests import Linear, distinct_rows

SCRIPT = ROOT / "tests" / "clients" / "scripts" / "grpc_js.js"
ROWS = distinct_rows(200, seed=5)


@pytest.fixture(scope="module")
def report(mesh: Mesh, node: Node, grpc_js: Path) -> dict[str, Any]:
    return run_client(mesh, node, grpc_js)


def run_client(mesh: Mesh, node: Node, grpc_js: Path) -> dict[str, Any]:
    """What the client saw in one run."""
    job = {
        "address": mesh.gateway,
        "token": mesh.demo_token,
        "packages": str(grpc_js),
        "protos": str(ROOT / "protos"),
        "rows": ROWS.tolist(),
    }
    result: dict[str, Any] = json.loads(output_of([node.node, SCRIPT], text=json.dumps(job)))
    return result


def test_live_and_metadata(report: dict[str, Any]) -> None:
    """Unary calls of the contract answer OK."""
    assert report["live"]["answer"] == {"live": True}
    assert report["metadata"]["answer"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}]


def test_concurrent_inference(report: dict[str, Any], linear: Linear) -> None:
    """200 concurrent calls answer OK, each with its own rows' numbers."""
    assert report["codes"] == [0] * len(ROWS)
    np.testing.assert_allclose(np.array(report["outputs"]), linear(ROWS), rtol=1e-5, atol=1e-6)


def test_trailing_metadata(report: dict[str, Any]) -> None:
    """The timings and the trace's identifier arrive as trailing metadata."""
    trailing = report["trailing"]
    assert len(trailing["headrace-trace-id"]) == 32
    assert int(trailing["headrace-batch-size"]) >= 1
    assert int(trailing["headrace-total-us"]) >= int(trailing["headrace-compute-us"]) > 0


def test_errors_arrive_with_code_and_details(report: dict[str, Any]) -> None:
    """An unknown model is NOT_FOUND with its name; a call without a token is UNAUTHENTICATED."""
    assert report["unknown"]["code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert "no-such-model" in report["unknown"]["details"]
    assert report["anonymous"]["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]


@pytest.mark.slow
def test_with_the_node_of_the_wheel(mesh: Mesh, grpc_js: Path) -> None:
    """Where the machine has no Node, the one that PyPI carries sees the same."""
    assert run_client(mesh, wheel_node(), grpc_js)["codes"] == [0] * len(ROWS)
