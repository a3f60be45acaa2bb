"""Row 22: size limits are sharp, on gRPC, gzip and REST."""

import gzip
import json

import grpc
import httpx
import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from tests.conftest import MeshOf
from tests.support.http2 import Request, grpc_frame, send
from tests.support.mesh import CALL_TIMEOUT_S, H2, SMALL_LIMIT, TWO_REPLICAS, Mesh, bearer
from tests.support.node import Node
from tests.support.requests import distinct_rows, linear

LIMIT = SMALL_LIMIT
INFER = "/inference.GRPCInferenceService/ModelInfer"
OK, TOO_LARGE = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(scope="module", params=["h1", "h2"])
def small_mesh(request: pytest.FixtureRequest, mesh_of: MeshOf) -> Mesh:
    """Meshes that take messages of at most `LIMIT` bytes."""
    return mesh_of(TWO_REPLICAS if request.param == "h1" else H2)


def request_of_size(size: int) -> ModelInferRequest:
    """A request of `linear` that has exactly `size` bytes on the wire, most of them in its id."""
    request = linear(distinct_rows(1), "x" * (size - 200))
    request.id += "x" * (size - request.ByteSize())
    assert request.ByteSize() == size
    return request


@pytest.mark.parametrize(("size", "code"), [(LIMIT - 1, OK), (LIMIT, OK), (LIMIT + 1, TOO_LARGE)])
def test_grpc_message(small_mesh: Mesh, size: int, code: grpc.StatusCode) -> None:
    """A message of the limit is answered; one byte more is RESOURCE_EXHAUSTED."""
    with small_mesh.inference() as stub:
        call = stub.ModelInfer.future(
            request_of_size(size), timeout=CALL_TIMEOUT_S, metadata=bearer(small_mesh.demo_token)
        )
        assert call.code() is code, call.details()


@pytest.mark.parametrize(("size", "code"), [(LIMIT - 1, OK), (LIMIT, OK), (LIMIT + 1, TOO_LARGE)])
def test_gzip_message(small_mesh: Mesh, node: Node, size: int, code: grpc.StatusCode) -> None:
    """Of a compressed message the inflated size counts."""
    body = gzip.compress(request_of_size(size).SerializeToString())
    frame = b"\1" + grpc_frame(body)[1:]
    headers = {
        ":authority": small_mesh.gateway,
        "authorization": f"Bearer {small_mesh.demo_token}",
        "grpc-encoding": "gzip",
    }
    (answer,) = send(node, small_mesh.gateway, [Request(INFER, headers, frame)])
    assert answer.grpc_status == code.value[0], answer


def test_gzip_bomb(small_mesh: Mesh, node: Node) -> None:
    """A message that inflates to a hundred times the limit is refused, and the mesh answers the next call."""
    bomb = b"\1" + grpc_frame(gzip.compress(bytes(LIMIT * 100)))[1:]
    headers = {
        ":authority": small_mesh.gateway,
        "authorization": f"Bearer {small_mesh.demo_token}",
        "grpc-encoding": "gzip",
    }
    answers = send(node, small_mesh.gateway, [Request(INFER, headers, bomb)])
    assert answers[0].grpc_status == TOO_LARGE.value[0], answers[0]
    with small_mesh.inference() as stub:
        stub.ModelInfer(
            linear(distinct_rows(1)), timeout=CALL_TIMEOUT_S, metadata=bearer(small_mesh.demo_token)
        )


def rest_body(size: int) -> bytes:
    """A JSON request of `linear` of exactly `size` bytes."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}
    empty = json.dumps({"id": "", "inputs": [tensor]}).encode()
    body = json.dumps({"id": "x" * (size - len(empty)), "inputs": [tensor]}).encode()
    assert len(body) == size
    return body


def post(mesh: Mesh, size: int) -> httpx.Response:
    with mesh.http(mesh.demo_token) as client:
        return client.post(
            "/v2/models/linear/infer", content=rest_body(size), headers={"content-type": "application/json"}
        )


def test_rest_body(small_mesh: Mesh) -> None:
    """The REST limit is sharp to the byte and at most 64 KiB below the message limit; above it is 413."""
    accepted, refused = LIMIT - 64 * 1024, LIMIT + 1
    assert post(small_mesh, accepted).status_code == 200
    assert post(small_mesh, refused).status_code == 413
    while refused - accepted > 1:
        middle = (accepted + refused) // 2
        answer = post(small_mesh, middle)
        assert answer.status_code in (200, 413), answer.text
        accepted, refused = (middle, refused) if answer.status_code == 200 else (accepted, middle)
    assert [post(small_mesh, size).status_code for size in (accepted - 1, accepted, refused)] == [
        200,
        200,
        413,
    ]
    assert set(post(small_mesh, refused).json()) == {"error"}
