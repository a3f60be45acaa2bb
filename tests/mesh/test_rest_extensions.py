"""Triton's extensions of the protocol over HTTP: configuration, statistics, repository, settings, memory."""

from typing import Any

import httpx
import pytest

from tests.conftest import MeshOf
from tests.support.controlled import EXPLICIT
from tests.support.mesh import Mesh
from tests.support.small import write_scale


def get(mesh: Mesh, path: str, token: str = "") -> httpx.Response:
    with mesh.http(token or mesh.operator_token) as client:
        return client.get(path)


def post(mesh: Mesh, path: str, body: Any = None, token: str = "") -> httpx.Response:
    with mesh.http(token or mesh.operator_token) as client:
        return client.post(path, json=body) if body is not None else client.post(path)


def refused(answer: httpx.Response, status: int, named: str) -> None:
    """In the protocol's shape."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert named in answer.json()["error"]


def test_a_models_configuration_is_tritons_json(hot_mesh: Mesh) -> None:
    """64-bit numbers are numbers, enums are names; with a version and without."""
    for path in ("/v2/models/linear/config", "/v2/models/linear/versions/1/config"):
        document = get(hot_mesh, path).json()
        assert (document["name"], document["max_batch_size"]) == ("linear", 32)
        assert document["input"][0]["data_type"] == "TYPE_FP32"
        assert document["input"][0]["dims"] == [16]
        assert document["dynamic_batching"]["default_queue_policy"]["max_queue_size"] == 8192
    refused(get(hot_mesh, "/v2/models/nope/config"), 404, "nope")


def test_statistics_are_of_one_version_of_a_model_or_of_all(hot_mesh: Mesh) -> None:
    """Counts are numbers, those of nothing too."""
    every = get(hot_mesh, "/v2/models/stats").json()["model_stats"]
    assert {"linear", "minilm"} <= {row["name"] for row in every}
    for path in ("/v2/models/linear/stats", "/v2/models/linear/versions/1/stats"):
        (row,) = get(hot_mesh, path).json()["model_stats"]
        assert (row["name"], row["version"]) == ("linear", "1")
        assert isinstance(row["inference_count"], int)
        assert isinstance(row["inference_stats"]["success"]["ns"], int)
    refused(get(hot_mesh, "/v2/models/linear/versions/9/stats"), 404, "9")


def test_the_index_lists_the_repository(hot_mesh: Mesh) -> None:
    """A POST with or without a body."""
    for body in (None, {}, {"ready": True}):
        rows = post(hot_mesh, "/v2/repository/index", body).json()
        assert {"name": "linear", "version": "1", "state": "READY"} in rows
    refused(post(hot_mesh, "/v2/repository/other/index"), 404, "other")
    refused(post(hot_mesh, "/v2/repository/index", {"raedy": True}), 400, "raedy")


def test_what_is_not_ready_is_no_success(hot_mesh: Mesh) -> None:
    """Clients look at the status: 404 for a model that nobody knows."""
    assert get(hot_mesh, "/v2/models/linear/ready").status_code == 200
    refused(get(hot_mesh, "/v2/models/nope/ready"), 404, "nope")


def test_models_are_loaded_and_unloaded(mesh_of: MeshOf) -> None:
    """With a configuration, by its name in the address; an unloaded model is 503, an unknown one 404."""
    mesh = mesh_of(EXPLICIT)
    write_scale(mesh.state_dir / "models", "rested", 3.0)
    path = "/v2/repository/models/rested"
    body = {"parameters": {"config": '{"max_batch_size": 6}'}}
    assert post(mesh, f"{path}/load", body).status_code == 200
    assert get(mesh, "/v2/models/rested/ready").status_code == 200
    assert get(mesh, "/v2/models/rested/config").json()["max_batch_size"] == 6
    assert post(mesh, f"{path}/unload", {"parameters": {"unload_dependents": False}}).status_code == 200
    refused(get(mesh, "/v2/models/rested/ready"), 503, "rested")
    refused(post(mesh, "/v2/repository/models/absent/load"), 404, "absent")
    refused(
        post(mesh, f"{path}/load", {"parameters": {"file:1/model.onnx": "eA=="}}), 400, "file:1/model.onnx"
    )
    refused(post(mesh, f"{path}/load", {"parameters": 1}), 400, "parameters")
    refused(post(mesh, f"{path}/load", {"params": {}}), 400, "params")
    refused(post(mesh, f"{path}/load", token=mesh.demo_token), 403, "scopes")


def test_log_settings(hot_mesh: Mesh) -> None:
    """Read, set, refused by name; nothing of a refused body is set."""
    before = get(hot_mesh, "/v2/logging").json()
    assert before == {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0}
    assert post(hot_mesh, "/v2/logging", {"log_verbose_level": 1}).json() == {
        **before,
        "log_verbose_level": 1,
    }
    assert post(hot_mesh, "/v2/logging", {"log_verbose_level": 0}).json() == before
    refused(post(hot_mesh, "/v2/logging", {"log_info": False, "log_file": "x"}), 400, "log_file")
    assert get(hot_mesh, "/v2/logging").json() == before


def test_trace_settings(hot_mesh: Mesh) -> None:
    """The level is a list, the rest are texts, as Triton has them; null is the start's value."""
    before = get(hot_mesh, "/v2/trace/setting").json()
    assert before["trace_level"] == ["TIMESTAMPS"]
    changed = post(hot_mesh, "/v2/trace/setting", {"trace_rate": 7}).json()
    assert changed == {**before, "trace_rate": "7"}
    assert post(hot_mesh, "/v2/trace/setting", {"trace_rate": None}).json() == before
    assert get(hot_mesh, "/v2/models/linear/trace/setting").json() == before
    refused(post(hot_mesh, "/v2/trace/setting", {"trace_file": "x"}), 400, "trace_file")
    refused(post(hot_mesh, "/v2/models/linear/trace/setting", {"trace_rate": "7"}), 400, "model_name")
    refused(get(hot_mesh, "/v2/models/nope/trace/setting"), 404, "nope")


def test_memory_is_not_shared(hot_mesh: Mesh) -> None:
    """Nothing is registered, nothing can be; a tensor that says it lies there is refused."""
    for kind in ("system", "cuda"):
        assert get(hot_mesh, f"/v2/{kind}sharedmemory/status").json() == []
        assert post(hot_mesh, f"/v2/{kind}sharedmemory/unregister").status_code == 200
        refused(get(hot_mesh, f"/v2/{kind}sharedmemory/region/r/status"), 404, "'r'")
    register = {"key": "/r", "offset": 0, "byte_size": 8}
    refused(post(hot_mesh, "/v2/systemsharedmemory/region/r/register", register), 400, "not served")
    refused(post(hot_mesh, "/v2/cudasharedmemory/region/r/register", {}), 501, "CUDA")
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "parameters": {"shared_memory_region": "r"}}
    refused(post(hot_mesh, "/v2/models/linear/infer", {"inputs": [tensor]}), 400, "shared_memory_region")


@pytest.mark.parametrize("path", ["/v2/logging", "/v2/trace/setting", "/v2/repository/index"])
@pytest.mark.parametrize("body", [b"[" * 150_000, b'{"a":' * 30_000, b"[1]", b"{", b"\xff"])
def test_bodies_that_are_no_object(hot_mesh: Mesh, path: str, body: bytes) -> None:
    """400, however deep, and alive."""
    with hot_mesh.http(hot_mesh.operator_token) as client:
        refused(client.post(path, content=body), 400, "body")
        assert client.get("/v2/health/live").status_code == 200
