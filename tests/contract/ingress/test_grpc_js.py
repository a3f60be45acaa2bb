"""Node's grpc-js sees gRPC, whichever way the hot path goes."""

import base64
import json
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.contract.ingress.conftest import Open
from tests.contract.ingress.echo import STREAM_PATH
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.node import GRPC_PACKAGES, node

SCRIPT = ROOT / "tests" / "contract" / "ingress" / "grpc_js.js"
CALLERS = 200


@pytest.fixture(scope="module", params=["h1", "h2"])
def seen(request: pytest.FixtureRequest, open_edge: Open) -> dict[str, Any]:
    """What the client saw in one run."""
    runtime = node()
    job = {
        "address": open_edge(request.param).target,
        "packages": str(runtime.with_packages(*GRPC_PACKAGES)),
        "protos": str(ROOT / "protos"),
        "stream": STREAM_PATH,
        "callers": CALLERS,
    }
    result: dict[str, Any] = json.loads(output_of([runtime.node, SCRIPT], text=json.dumps(job)))
    return result


@pytest.mark.timeout(300)  # the first run installs the client
def test_a_unary_call(seen: dict[str, Any]) -> None:
    """Message, initial, trailing and binary metadata."""
    assert seen["unary"] == {
        "code": 0, "details": "", "id": "one", "tenant": "one", "binary": "00ff", "initial": "one", "trailing": "one",
    }  # fmt: skip


def test_errors(seen: dict[str, Any]) -> None:
    """Code, text and details; nothing of a fault of ours."""
    failed = seen["failed"]
    assert (failed["code"], failed["details"]) == (
        grpc.StatusCode.UNAVAILABLE.value[0],
        "100 % wrong: é\r\nno more",
    )
    info = ErrorInfo()
    assert Status.FromString(base64.b64decode(failed["status"])).details[0].Unpack(info)
    assert info.reason == "OVERLOADED"
    assert seen["crashed"]["code"] == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in seen["crashed"]["details"]
    assert seen["late"]["code"] == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_streams(seen: dict[str, Any]) -> None:
    """Messages in order; an error after them arrives behind them."""
    assert (seen["stream"]["code"], seen["stream"]["versions"]) == (0, [str(index) for index in range(100)])
    assert (seen["broken"]["code"], len(seen["broken"]["versions"])) == (
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        3,
    )


def test_many_callers(seen: dict[str, Any]) -> None:
    """Each of them has its own answer."""
    assert [(call["code"], call["id"], call["tenant"]) for call in seen["many"]] == [
        (0, f"caller-{index}", f"caller-{index}") for index in range(CALLERS)
    ]
