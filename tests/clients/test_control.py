"""Triton's clients and KServe's load and unload models, stream, and set logs, unmodified."""

import json
from typing import Any

import pytest

from tests.clients.cases import TRITON
from tests.conftest import MeshOf
from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.controlled import EXPLICIT
from tests.support.small import write_scale
from tests.support.venvs import venv

SCRIPTS = ROOT / "tests" / "clients" / "scripts"


@pytest.fixture(scope="module")
def reports(mesh_of: MeshOf) -> dict[str, dict[str, Any]]:
    """What each client saw in one run, through the gateway of two replicas."""
    mesh = mesh_of(EXPLICIT)
    found = {}
    for form in ("grpc", "http"):
        model = f"triton-{form}"
        write_scale(mesh.state_dir / "models", model, 3.0)
        job = {"address": mesh.gateway, "token": mesh.operator_token, "model": model}
        printed = output_of(
            [venv(TRITON), SCRIPTS / f"triton_control_{form}.py"],
            text=json.dumps(job),
        )
        found[form] = json.loads(printed)
    return found


FORMS = pytest.mark.parametrize("form", ["grpc", "http"])


@FORMS
def test_a_model_is_ready_from_its_load_to_its_unload(reports: dict[str, Any], form: str) -> None:
    """load_model, is_model_ready and unload_model, whichever replica each call reaches."""
    report = reports[form]
    assert (report["before"], report["loaded"], report["unloaded"]) == (False, True, False)
    assert report["answer"] in (6.0, [[6.0, 0.0]])


@FORMS
def test_a_configuration_comes_with_the_load(reports: dict[str, Any], form: str) -> None:
    """load_model(config=…), then get_model_config."""
    assert reports[form]["config"]["max_batch_size"] == 7


@FORMS
def test_the_index_knows_the_model(reports: dict[str, Any], form: str) -> None:
    """get_model_repository_index."""
    rows = {row["name"]: row for row in reports[form]["index"]}
    assert (rows[f"triton-{form}"]["version"], rows[f"triton-{form}"]["state"]) == ("1", "READY")


@FORMS
def test_settings_and_memory_are_answered(reports: dict[str, Any], form: str) -> None:
    """update_log_settings, the trace settings, and no shared memory."""
    report = reports[form]
    assert "log_verbose_level" in json.dumps(report["log"])
    assert "TIMESTAMPS" in json.dumps(report["trace"])
    assert not report["memory"]
    assert "not served" in report["register"]["message"]


@pytest.mark.parametrize("client", ["stream", "stream_aio"])
def test_a_stream_answers_each_request(reports: dict[str, Any], client: str) -> None:
    """Both gRPC clients: each answer by its id, one error, and the stream goes on behind it."""
    report = reports["grpc"][client]
    assert report["errors"] == ["no model 'absent'"]
    assert report["answers"] == {str(number): 3.0 * number for number in range(50) if number != 7}


def test_refusals_have_their_status(reports: dict[str, Any]) -> None:
    """A name that leads out, and a file in a request."""
    assert reports["grpc"]["outside"]["status"] == "StatusCode.INVALID_ARGUMENT"
    assert reports["http"]["file"]["status"] == "400"
    assert "file:1/model.onnx" in reports["http"]["file"]["message"]


def test_statistics_over_http_are_of_one_model_or_all(reports: dict[str, Any]) -> None:
    """get_inference_statistics, with counts that are numbers. One of two replicas answers."""
    (row,) = reports["http"]["statistics"]
    assert (row["name"], row["version"]) == ("triton-http", "1")
    assert row["inference_count"] in (0, 1)
    assert {"linear", "triton-http"} <= set(reports["http"]["all"])
