"""OpenAI's embeddings, byte by byte as its clients write them."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.support.mesh import Mesh

PATH = "/v1/embeddings"
TOKENS = [101, 7592, 2088, 102]  # [CLS] hello world [SEP]


def post(mesh: Mesh, body: Any, token: str | None = None) -> httpx.Response:
    with mesh.http(mesh.demo_token if token is None else token or None) as client:
        return client.post(PATH, json=body)


def embeddings(answer: httpx.Response) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]
    assert [row["index"] for row in rows] == list(range(len(rows)))
    return np.array([numbers(row["embedding"]) for row in rows], np.float32)


def numbers(embedding: str | list[float]) -> Any:
    """In either encoding."""
    return np.frombuffer(base64.b64decode(embedding), "<f4") if isinstance(embedding, str) else embedding


def test_a_text_is_embedded_and_counted(hot_mesh: Mesh) -> None:
    """OpenAI's shape; usage is the tokens that the model read."""
    answer = post(hot_mesh, {"model": "minilm", "input": "hello world"})
    document = answer.json()
    assert (document["object"], document["model"]) == ("list", "minilm")
    assert document["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert document["data"][0]["object"] == "embedding"
    assert embeddings(answer).shape == (1, 384)
    assert len(answer.headers["headrace-trace-id"]) == 32


def test_tokens_are_embedded_as_the_text_that_they_are_of(hot_mesh: Mesh) -> None:
    """One array or several of different lengths, beside each other."""
    text = embeddings(post(hot_mesh, {"model": "minilm", "input": "hello world"}))
    one = post(hot_mesh, {"model": "minilm", "input": TOKENS})
    assert one.json()["usage"]["prompt_tokens"] == 4
    np.testing.assert_allclose(embeddings(one), text, atol=1e-5)
    both = embeddings(post(hot_mesh, {"model": "minilm", "input": [[101, 102], TOKENS]}))
    np.testing.assert_allclose(both[1:], text, atol=1e-5)


def test_more_texts_than_a_batch_keep_their_order(hot_mesh: Mesh) -> None:
    """Seventy are three requests to the model, one answer to the caller."""
    texts = [f"text number {number}" for number in range(70)]
    answer = post(hot_mesh, {"model": "minilm", "input": texts, "encoding_format": "base64"})
    found = embeddings(answer)
    assert found.shape == (70, 384)
    alone = embeddings(post(hot_mesh, {"model": "minilm", "input": texts[69]}))
    np.testing.assert_allclose(found[69:], alone, atol=1e-5)


def test_base64_is_the_same_numbers(hot_mesh: Mesh) -> None:
    """Little-endian FP32, which OpenAI's client asks for by default."""
    body = {"model": "minilm", "input": ["one", "two"]}
    plain = embeddings(post(hot_mesh, body))
    coded = post(hot_mesh, {**body, "encoding_format": "base64"})
    assert all(isinstance(row["embedding"], str) for row in coded.json()["data"])
    np.testing.assert_allclose(embeddings(coded), plain, atol=1e-6)


@pytest.mark.parametrize(
    ("status", "kind", "param", "body"),
    [
        (404, "not_found_error", None, {"model": "nope", "input": "a"}),
        (404, "not_found_error", None, {"model": "linear", "input": "a"}),
        (400, "invalid_request_error", "input", {"model": "minilm", "input": []}),
        (400, "invalid_request_error", "input[0]", {"model": "minilm", "input": ""}),
        (400, "invalid_request_error", "input[1]", {"model": "minilm", "input": ["a", ""]}),
        (400, "invalid_request_error", "input[1]", {"model": "minilm", "input": ["a", 1]}),
        (400, "invalid_request_error", "input[0]", {"model": "minilm", "input": [[1, -5]]}),
        (400, "invalid_request_error", "input[0]", {"model": "minilm", "input": [2**70]}),
        (400, "invalid_request_error", "input[0]", {"model": "minilm", "input": [30522]}),
        (400, "invalid_request_error", "input[0]", {"model": "minilm", "input": [1] * 513}),
        (400, "invalid_request_error", "input", {"model": "minilm", "input": ["a"] * 2049}),
        (400, "invalid_request_error", "input", {"model": "minilm", "input": {"text": "a"}}),
        (400, "invalid_request_error", "input[0]", {"model": "minilm", "input": [[[1]]]}),
        (400, "invalid_request_error", "dimensions", {"model": "minilm", "input": "a", "dimensions": 5}),
        (
            400,
            "invalid_request_error",
            "encoding_format",
            {"model": "minilm", "input": "a", "encoding_format": "x"},
        ),
        (400, "invalid_request_error", "body", {"model": "minilm", "inputs": "a"}),
        (400, "invalid_request_error", "body", ["a"]),
    ],
)
def test_errors_have_openais_shape(
    hot_mesh: Mesh, status: int, kind: str, param: str | None, body: Any
) -> None:
    """{"error": {message, type, param, code}}: what is wrong, and where."""
    answer = post(hot_mesh, body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == (kind, param)
    assert error["message"]
    assert error["code"] in ("model_not_found", "body_invalid")


def test_a_missing_token_has_openais_shape_too(hot_mesh: Mesh) -> None:
    """The gateway refuses it before the transcoder knows the path."""
    answer = post(hot_mesh, {"model": "minilm", "input": "a"}, token="")
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_dimensions_of_the_model_and_user_are_taken(hot_mesh: Mesh) -> None:
    """They change nothing."""
    body = {
        "model": "minilm",
        "input": "a",
        "dimensions": 384,
        "user": "somebody",
        "encoding_format": "float",
    }
    assert embeddings(post(hot_mesh, body)).shape == (1, 384)


def test_models_are_those_that_embed(hot_mesh: Mesh) -> None:
    """minilm, and none that makes something else."""
    with hot_mesh.http(hot_mesh.demo_token) as client:
        listed = client.get("/v1/models").json()
        assert listed["object"] == "list"
        (row,) = listed["data"]
        assert (row["id"], row["object"]) == ("minilm", "model")
        assert client.get("/v1/models/minilm").json() == {**row, "name": "minilm", "ready": True}
        other = client.get("/v1/models/nope")
        assert other.status_code == 404
        assert other.json()["error"]["type"] == "not_found_error"
        assert client.get("/v1/nothing").status_code == 404
