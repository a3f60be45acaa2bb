"""Hostile input through the gateway: refused, nothing INTERNAL, and alive after each; memory does not stay."""

import json
from typing import Any

import grpc
import httpx
import numpy as np
import psutil
import pytest

from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.support.mesh import Mesh, bearer, raw

INFER = "/v2/models/linear/infer"
METHOD = "/inference.GRPCInferenceService/"
ROW = np.zeros((1, 16), np.float32)
GROWTH_BYTES = 100 * 1024 * 1024
"""What a replica may have grown by after all of it: its allocator keeps some."""


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": ROW[0].tolist(), **changed}


LONG = "n" * 50_000
BODIES: dict[str, bytes] = {
    "depth of lists": b'{"inputs":' + b"[" * 250_000 + b"]" * 250_000 + b"}",
    "depth of objects": b'{"a":' * 250_000 + b"1" + b"}" * 250_000,
    "depth inside data": json.dumps({"inputs": [tensor(data=[[[[[[[[[[1]]]]]]]]]])]}).encode(),
    "shape that overflows 64 bits": json.dumps({"inputs": [tensor(shape=[2**4, 2**60 + 2])]}).encode(),
    "shape that overflows to 8": json.dumps({"inputs": [tensor(shape=[2**2, 2**60 + 2])]}).encode(),
    "shape beyond 64 bits": json.dumps({"inputs": [tensor(shape=[2**70, 1])]}).encode(),
    "negative shape": json.dumps({"inputs": [tensor(shape=[-1, -16])]}).encode(),
    "very many dimensions": json.dumps({"inputs": [tensor(shape=[1] * 100_000)]}).encode(),
    "huge declared size": json.dumps({"inputs": [tensor(shape=[2**27, 16], data=[])]}).encode(),
    "same output twice": json.dumps({"inputs": [tensor()], "outputs": [{"name": "y"}] * 2}).encode(),
    "same input twice": json.dumps({"inputs": [tensor(), tensor()]}).encode(),
    "no inputs": b'{"inputs":[]}',
    "missing data": json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16]}]}).encode(),
    "too few elements": json.dumps({"inputs": [tensor(data=[1.0])]}).encode(),
    "numbers as text": json.dumps({"inputs": [tensor(data=["1"] * 16)]}).encode(),
    "number beyond float": b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1e999]}]}',
    "not a number": b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[NaN]}]}',
    "a long name": json.dumps({"inputs": [tensor(name=LONG)]}).encode(),
    "a long datatype": json.dumps({"inputs": [tensor(datatype=LONG)]}).encode(),
    "a NUL in a name": json.dumps({"inputs": [tensor(name="x\0")]}).encode(),
    "a line break in a name": json.dumps({"inputs": [tensor(name="x\r\nset-cookie: a=b")]}).encode(),
    "a lone surrogate": b'{"inputs":[{"name":"\\ud800","datatype":"FP32","shape":[1,16],"data":[]}]}',
    "bytes that are no text": b"\xff\xfe\x00",
    "wrong shape of a shape": json.dumps({"inputs": [tensor(shape="1,16")]}).encode(),
    "binary data that is not there": json.dumps(
        {"inputs": [tensor(data=None, parameters={"binary_data_size": 2**40})]}
    ).encode(),
    "negative binary data": json.dumps(
        {"inputs": [tensor(data=None, parameters={"binary_data_size": -5})]}
    ).encode(),
}


def requests() -> dict[str, bytes]:
    """Messages for ModelInfer."""
    found: dict[str, bytes] = {"bytes": b"\xff" * 64, "deep groups": b"\x0b" * 100_000, "nothing": b""}

    def add(what: str, raw_input: bytes = ROW.tobytes(), **fields: Any) -> None:
        request = pb.ModelInferRequest(model_name=fields.pop("model", "linear"))
        request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 16], **fields})
        request.raw_input_contents.append(raw_input)
        found[what] = request.SerializeToString()

    add("shape that overflows", shape=[2**4, 2**60 + 2])
    add("shape that overflows to 8", shape=[2**2, 2**60 + 2])
    add("negative shape", shape=[-1, 16])
    add("very many dimensions", shape=[1] * 50_000)
    add("bytes that don't fit", raw_input=b"\0" * 63)
    add("a long name", name=LONG)
    add("a long model", model=LONG)
    add("a way out", model="../../etc/passwd")
    add("a line break", model="a\r\ngrpc-status: 0")
    add("a string for a number", datatype="BYTES", raw_input=b"\xff\xff\xff\x7f")
    return found


REQUESTS = requests()


def alive(mesh: Mesh) -> None:
    with mesh.http(mesh.demo_token) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert client.post(INFER, json={"inputs": [tensor()]}).status_code == 200


def memory(mesh: Mesh) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in mesh.pids("inference"))


@pytest.mark.parametrize("what", BODIES)
def test_a_hostile_body_is_refused(mesh: Mesh, what: str) -> None:
    """400 in the protocol's shape, and the next request is answered."""
    with mesh.http(mesh.demo_token) as client:
        answer = client.post(INFER, content=BODIES[what], headers={"content-type": "application/json"})
    refused(answer)
    alive(mesh)


@pytest.mark.parametrize("what", REQUESTS)
def test_a_hostile_message_is_refused(mesh: Mesh, what: str) -> None:
    """INVALID_ARGUMENT or NOT_FOUND, never INTERNAL or a broken connection, and alive."""
    with mesh.channel() as channel:
        call = raw(channel, METHOD + "ModelInfer")
        with pytest.raises(grpc.RpcError) as error:
            call(REQUESTS[what], metadata=bearer(mesh.demo_token), timeout=30)
        code = error.value.code()
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), error.value
    alive(mesh)


OTHERS = (
    "/v1/embeddings",
    "/v1/models/linear:predict",
    "/v2/models/linear/generate",
    "/v2/repository/index",
    "/v2/models/minilm/infer",
)


@pytest.mark.parametrize("path", OTHERS)
def test_every_body_is_refused_everywhere(mesh: Mesh, path: str) -> None:
    """Addresses that read bodies of other forms refuse the same corpus."""
    with mesh.http(mesh.operator_token) as client:
        for what, body in BODIES.items():
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 404), (what, answer.text[:300])
    alive(mesh)


def test_hostile_input_does_not_stay_in_memory(mesh: Mesh) -> None:
    """The corpus forty times over: what a replica grew by is bounded."""
    with mesh.http(mesh.demo_token) as client:
        for body in BODIES.values():
            client.post(INFER, content=body)
        before = memory(mesh)
        for _ in range(40):
            for body in BODIES.values():
                client.post(INFER, content=body)
    assert memory(mesh) - before < GROWTH_BYTES
    alive(mesh)


def refused(answer: httpx.Response) -> None:
    assert answer.status_code == 400, answer.text[:500]
    assert set(answer.json()) == {"error"}
    assert len(answer.json()["error"]) < 2000
