"""Other HTTP forms of an inference: KServe's first protocol, and Triton's generate."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.mesh import Mesh
from tests.support.requests import Linear, distinct_rows

PREDICT = "/v1/models/linear:predict"
GENERATE = "/v2/models/linear/generate"
ROWS = distinct_rows(3, seed=5)


def post(mesh: Mesh, path: str, body: Any, token: str | None = None) -> httpx.Response:
    with mesh.http(mesh.demo_token if token is None else token or None) as client:
        return client.post(path, json=body)


def test_rows_are_predicted(hot_mesh: Mesh, linear: Linear) -> None:
    """As values and by name, with a version and without; the timings are headers."""
    for path, instances in (
        (PREDICT, ROWS.tolist()),
        ("/v1/models/linear/versions/1:predict", [{"x": row.tolist()} for row in ROWS]),
    ):
        answer = post(hot_mesh, path, {"instances": instances})
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(answer.json()["predictions"], linear(ROWS), rtol=1e-5, atol=1e-6)
        assert int(answer.headers["headrace-batch-size"]) >= 3


def test_columns_are_answered_as_columns(hot_mesh: Mesh, linear: Linear) -> None:
    """And what is told of the answer stands beside them."""
    body = {"inputs": {"x": ROWS.tolist()}, "parameters": {"headrace_explain": True}}
    document = post(hot_mesh, PREDICT, body).json()
    np.testing.assert_allclose(document["outputs"], linear(ROWS), rtol=1e-5, atol=1e-6)
    assert document["parameters"]["headrace_batch_size"] >= 3


def test_a_text_is_generated_from(hot_mesh: Mesh) -> None:
    """One JSON object, or one server-sent event with the same."""
    body = {"text": "hello world", "temperature": 0.5, "parameters": {"headrace_explain": True}}
    document = post(hot_mesh, "/v2/models/minilm/generate", body).json()
    assert (document["model_name"], document["model_version"]) == ("minilm", "1")
    assert len(document["embedding"]) == 384
    assert document["headrace_batch_size"] >= 1
    answer = post(hot_mesh, "/v2/models/minilm/versions/1/generate_stream", {"text": "hello world"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text.startswith("data: {")
    assert answer.text.endswith("}\n\n")
    event = json.loads(answer.text.removeprefix("data: "))
    np.testing.assert_allclose(event["embedding"], document["embedding"], atol=1e-5)


@pytest.mark.parametrize(
    ("status", "path", "body", "named"),
    [
        (404, "/v1/models/nope:predict", {"instances": [1]}, "nope"),
        (404, "/v1/models/linear/versions/7:predict", {"instances": [1]}, "7"),
        (400, PREDICT, {"instances": [[1, 2]]}, "x"),
        (400, PREDICT, {"instances": [[0.0] * 16] * 33}, "32 rows"),
        (400, PREDICT, {"instances": [[1], [1, 2]]}, "instances"),
        (400, PREDICT, {"parameters": {}}, "instances"),
        (404, "/v2/models/nope/generate", {"x": 1}, "nope"),
        (400, GENERATE, {"x": [1.0] * 15}, "x"),
        (400, GENERATE, {"y": 1}, "'x' is missing"),
        (400, GENERATE + "_stream", {"x": ["a"] * 16}, "FP32"),
        (400, GENERATE, {"x": [1.0] * 16, "priority": "high"}, "priority"),
    ],
)
def test_errors_have_the_protocols_shape(
    hot_mesh: Mesh, status: int, path: str, body: Any, named: str
) -> None:
    """{"error": text}, also of a stream that has not begun, and also under /v1."""
    answer = post(hot_mesh, path, body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert named in answer.json()["error"]


def test_only_who_may_infer(hot_mesh: Mesh) -> None:
    """401 without a token, 403 for one without the scope, in the same shape."""
    observer = hot_mesh.token("demo", "observe")
    for path in (PREDICT, GENERATE, GENERATE + "_stream"):
        for token, status in (("", 401), (observer, 403)):
            answer = post(hot_mesh, path, {}, token=token)
            assert (answer.status_code, type(answer.json()["error"])) == (status, str), answer.text


def test_models_are_asked_for_as_kserve_does(hot_mesh: Mesh) -> None:
    """All names in the list, and whether one is ready; one that nobody knows is 404."""
    with hot_mesh.http(hot_mesh.demo_token) as client:
        assert {"linear", "minilm", "magika"} <= set(client.get("/v1/models").json()["models"])
        assert client.get("/v1/models/linear").json() == {"name": "linear", "ready": True}
        assert client.get("/v1/models/minilm").json()["ready"] is True
        assert client.get("/v1/models/nope").status_code == 404
