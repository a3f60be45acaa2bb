"""The Open Inference Protocol over HTTP, byte by byte as other clients write it."""

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.mesh import Mesh
from tests.support.requests import Linear, distinct_rows

INFER = "/v2/models/linear/infer"
ROW = distinct_rows(1, seed=3)


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": ROW[0].tolist(), **changed}


def nested(depth: int) -> Any:
    data: Any = 1.0
    for _ in range(depth):
        data = [data]
    return data


def post(mesh: Mesh, body: Any, path: str = INFER, token: str | None = None) -> httpx.Response:
    with mesh.http(mesh.demo_token if token is None else token or None) as client:
        return client.post(path, json=body)


def get(mesh: Mesh, path: str) -> httpx.Response:
    with mesh.http(mesh.demo_token) as client:
        return client.get(path)


def test_json_answer_has_the_protocols_shape(hot_mesh: Mesh, linear: Linear) -> None:
    """Numbers are numbers, shapes are lists of numbers, and the id comes back."""
    answer = post(hot_mesh, {"id": "mine", "inputs": [tensor()]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert (document["id"], document["model_name"], document["model_version"]) == ("mine", "linear", "1")
    (output,) = document["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [1, 4])
    np.testing.assert_allclose(output["data"], linear(ROW)[0], rtol=1e-5, atol=1e-6)


def test_timings_are_response_headers(hot_mesh: Mesh) -> None:
    """What gRPC tells in trailing metadata, REST tells in headers of the same names."""
    headers = post(hot_mesh, {"inputs": [tensor()]}).headers
    assert len(headers["headrace-trace-id"]) == 32
    assert int(headers["headrace-total-us"]) >= int(headers["headrace-compute-us"]) > 0
    assert int(headers["headrace-batch-size"]) >= 1
    assert headers["headrace-replica"].startswith("inference-")


def test_an_answer_tells_of_itself_when_it_is_asked(hot_mesh: Mesh) -> None:
    """What the headers say, as parameters of the answer; nothing else in it is changed."""
    answer = post(hot_mesh, {"inputs": [tensor()], "parameters": {"headrace_explain": True}})
    document = answer.json()
    told = document.pop("parameters")
    assert {name: str(value) for name, value in told.items()} == {
        name: answer.headers[name.replace("_", "-")] for name in told
    }
    assert {"headrace_batch_position", "headrace_trace_id"} <= told.keys()
    assert document == post(hot_mesh, {"inputs": [tensor()]}).json()


def test_binary_tensors_both_ways(hot_mesh: Mesh, linear: Linear) -> None:
    """Raw bytes behind a JSON header of the told length; the answer has the same form when it was asked for."""
    raw = ROW.tobytes()
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": [1, 16],
                    "parameters": {"binary_data_size": len(raw)},
                }
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
    ).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    with hot_mesh.http(hot_mesh.demo_token) as client:
        answer = client.post(INFER, content=head + raw, headers=headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:length])
    assert document["outputs"][0]["parameters"]["binary_data_size"] == 16
    found = np.array(struct.unpack("<4f", answer.content[length:]))
    np.testing.assert_allclose(found, linear(ROW)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/linear",
        "/v2/models/linear/ready",
        "/v2/models/linear/versions/1",
        "/v2/models/linear/versions/1/ready",
    ],
)
def test_reading_addresses(hot_mesh: Mesh, path: str) -> None:
    """Each address that only reads answers JSON, with and without a version."""
    answer = get(hot_mesh, path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize(
    ("status", "path", "body", "named"),
    [
        (404, "/v2/models/nope/infer", {"inputs": [tensor()]}, "nope"),
        (404, "/v2/models/linear/versions/7/infer", {"inputs": [tensor()]}, "7"),
        (400, INFER, {"inputs": [tensor(shape=[1, 15])]}, "x"),
        (400, INFER, {"inputs": [tensor(shape=[2**4, 2**60 + 2])]}, "x"),
        (400, INFER, {"inputs": [tensor(shape=[2**2, 2**60 + 2])]}, "x"),
        (400, INFER, {"inputs": [tensor(shape=[2**64])]}, "shape"),
        (400, INFER, {"inputs": [tensor(shape=[-1, 16])]}, "x"),
        (400, INFER, {"inputs": [tensor(data=[1e39] * 16)]}, "inputs[0].data"),
        (400, INFER, {"inputs": [tensor(data=nested(101))]}, "inputs[0].data"),
        (400, INFER, {"inputs": [tensor(datatype="FP64")]}, "FP32"),
        (400, INFER, {"inputs": [tensor(name="z")]}, "z"),
        (400, INFER, {"inputs": []}, "x"),
        (400, INFER, {"inputs": [tensor()], "outputs": [{"name": "y"}, {"name": "y"}]}, "y"),
        (400, INFER, {"input": [tensor()]}, "input"),
        (400, INFER, [1, 2], ""),
        (404, "/v2/nothing", {}, ""),
    ],
)
def test_errors_have_the_protocols_shape(
    hot_mesh: Mesh, status: int, path: str, body: Any, named: str
) -> None:
    """A bad request is {"error": …} with the status that fits, names what is wrong; the mesh stays ready."""
    answer = post(hot_mesh, body, path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert set(document) == {"error"}, document
    assert named in document["error"]
    assert get(hot_mesh, "/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    "content", [b"", b"{", b"nonsense", b"[" * 150_000, b'{"inputs":' * 200, b"\xff\xfe"]
)
def test_bodies_that_are_no_json(hot_mesh: Mesh, content: bytes) -> None:
    """What is no JSON, or nested too deep, is 400 and the mesh stays live."""
    with hot_mesh.http(hot_mesh.demo_token) as client:
        answer = client.post(INFER, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert set(answer.json()) == {"error"}
        assert client.get("/v2/health/live").status_code == 200


@pytest.mark.parametrize("length", ["-1", "99999999999999999999", "5000", "x", ""])
def test_wrong_header_lengths(hot_mesh: Mesh, length: str) -> None:
    """A length that no JSON header of this body can have is 400."""
    with hot_mesh.http(hot_mesh.demo_token) as client:
        answer = client.post(
            INFER, content=b'{"inputs":[]}', headers={"inference-header-content-length": length}
        )
    assert answer.status_code == 400, answer.text


def test_missing_token_is_401(hot_mesh: Mesh) -> None:
    """Without a token the answer is 401, in the same shape."""
    answer = post(hot_mesh, {"inputs": [tensor()]}, token="")
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


def test_wrong_verb_is_refused(hot_mesh: Mesh) -> None:
    """A GET of an address that takes POST is 404 or 405, in the same shape."""
    answer = get(hot_mesh, INFER)
    assert answer.status_code in (404, 405)
    assert set(answer.json()) == {"error"}
