"""Browsers: gRPC-Web, and cross-origin calls only where the settings allow them."""

import base64

import httpx
import numpy as np
import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from tests.conftest import MeshOf
from tests.support.http2 import grpc_frame
from tests.support.mesh import H2, Mesh
from tests.support.requests import Linear, distinct_rows, output
from tests.support.requests import linear as linear_request

INFER = "/inference.GRPCInferenceService/ModelInfer"
ORIGIN = "https://app.example.com"
TRAILERS = 0x80
ROW = distinct_rows(1, seed=8)


def call(mesh: Mesh, request: ModelInferRequest, token: str | None, kind: str) -> list[tuple[int, bytes]]:
    """The frames of the answer: (flags, bytes)."""
    body = grpc_frame(request.SerializeToString())
    as_text = "text" in kind
    with mesh.http(token) as client:
        answer = client.post(
            INFER,
            content=base64.b64encode(body) if as_text else body,
            headers={"content-type": kind, "accept": kind, "x-grpc-web": "1"},
        )
    assert answer.status_code == 200
    return frames(answer, decoded(answer.content) if as_text else answer.content)


def decoded(content: bytes) -> bytes:
    """The text form: base64 of each part of the answer, each with padding of its own."""
    return b"".join(base64.b64decode(content[at : at + 4]) for at in range(0, len(content), 4))


def frames(answer: httpx.Response, content: bytes) -> list[tuple[int, bytes]]:
    if not content:  # an answer without a message has its status in the headers
        return [(TRAILERS, f"grpc-status:{answer.headers['grpc-status']}".encode())]
    found = []
    while content:
        size = int.from_bytes(content[1:5], "big")
        found.append((content[0], content[5 : 5 + size]))
        content = content[5 + size :]
    return found


@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text+proto"])
def test_grpc_web_call(hot_mesh: Mesh, linear: Linear, kind: str) -> None:
    """A gRPC-Web call gets a message frame and a trailers frame with grpc-status 0 and our metadata."""
    message, trailers = call(hot_mesh, linear_request(ROW), hot_mesh.demo_token, kind)
    assert (message[0], trailers[0]) == (0, TRAILERS)
    answer = ModelInferResponse.FromString(message[1])
    np.testing.assert_allclose(output(answer, "y"), linear(ROW), rtol=1e-5, atol=1e-6)
    assert b"grpc-status:0" in trailers[1].replace(b" ", b"")
    assert b"headrace-trace-id" in trailers[1]


def test_grpc_web_error(hot_mesh: Mesh) -> None:
    """An error reaches a gRPC-Web client with its gRPC status."""
    request = linear_request(ROW, model="nope")
    (trailers,) = call(hot_mesh, request, hot_mesh.demo_token, "application/grpc-web+proto")
    assert b"grpc-status:5" in trailers[1].replace(b" ", b"")


def preflight(mesh: Mesh, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-grpc-web",
    }
    with mesh.http() as client:
        return client.options(INFER, headers=headers)


def test_no_origin_is_allowed_by_default(mesh: Mesh) -> None:
    """A fresh mesh answers no cross-origin request with CORS headers."""
    answer = preflight(mesh, ORIGIN)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert answer.status_code >= 400


def test_allowed_origin_may_call(mesh_of: MeshOf) -> None:
    """With `cors_origins` the named origin may preflight without a token and may read our metadata."""
    mesh = mesh_of(H2)
    answer = preflight(mesh, ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"]
    with mesh.http(mesh.demo_token) as client:
        read = client.get("/v2/health/live", headers={"origin": ORIGIN})
    assert read.headers["access-control-allow-origin"] == ORIGIN
    assert "headrace-trace-id" in read.headers["access-control-expose-headers"]


def test_other_origins_may_not(mesh_of: MeshOf) -> None:
    """An origin that is not named gets no CORS header, nor does one that only begins like a named one."""
    for origin in ("https://evil.example.com", ORIGIN + ".evil.com", "null"):
        assert "access-control-allow-origin" not in preflight(mesh_of(H2), origin).headers
