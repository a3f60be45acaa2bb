"""Shared memory through the gateway, with Triton's own clients, out of process."""

import json
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.conftest import MeshOf
from tests.support.cache import ROOT
from tests.support.cached import ask
from tests.support.commands import output_of
from tests.support.mesh import TWO_REPLICAS, Mesh, bearer
from tests.support.requests import Linear, distinct_rows, text
from tests.support.shared import shared_object
from tests.support.venvs import venv

SCRIPT = ROOT / "tests" / "clients" / "scripts" / "triton_memory.py"
SCOPES = ("infer", "observe", "operate")
ROWS = distinct_rows(3, seed=12)
TEXTS = [b"water that lies in memory", b"turns the turbine"]
PAGE, EMBEDDING_BYTES = 4096, 384 * 4
ASKED = 12
"""So many requests reach both replicas."""


@pytest.fixture(scope="module")
def two(mesh_of: MeshOf) -> Mesh:
    """Two replicas, whose settings allow it."""
    return mesh_of(TWO_REPLICAS)


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_tritons_clients_share_memory(two: Mesh, linear: Linear, kind: str) -> None:
    """Registered once and used on each replica; right numbers, and errors before and after."""
    job = {
        "kind": kind,
        "address": two.gateway,
        "token": two.token(f"shares-{kind}", *SCOPES),
        "rows": ROWS.tolist(),
    }
    python = venv(f"tritonclient[{kind}]==2.73.0")
    report = json.loads(output_of([python, SCRIPT], text=json.dumps(job)))
    assert "shared_memory_region" in report["absent"]
    assert report["status"] == ["region"]
    for number, answer in enumerate(report["answers"]):
        np.testing.assert_allclose(answer, linear(ROWS + np.float32(number)), rtol=1e-4, atol=1e-5)
    assert "shared_memory_region" in report["gone"]


def test_an_ensembles_text_and_embedding_lie_in_memory(two: Mesh) -> None:
    """A model of steps whose answers are kept: computed or found on either replica, it is the embedding of texts that were sent."""
    token, raw = (
        two.token("shares-minilm", *SCOPES),
        b"".join(len(one).to_bytes(4, "little") + one for one in TEXTS),
    )
    sent = text("minilm", "text", TEXTS)
    request = text("minilm", "text", TEXTS)
    del request.raw_input_contents[:]
    size = len(TEXTS) * EMBEDDING_BYTES
    put(request.inputs[0], 0, len(raw))
    put(request.outputs.add(name="embedding"), PAGE, size)
    with shared_object(raw.ljust(PAGE + size, b"\0")) as (key, path), two.inference() as stub:
        region = pb.SystemSharedMemoryRegisterRequest(name="r", key=key, byte_size=PAGE + size)
        stub.SystemSharedMemoryRegister(region, metadata=bearer(token), timeout=30)
        expected = ask(stub, sent, token, ("cache-control", "no-store"))
        levels = set()
        for _ in range(ASKED):
            levels.add(ask(stub, request, token).level)
            assert path.read_bytes()[PAGE:] == expected.message.raw_output_contents[0]
            path.write_bytes(raw.ljust(PAGE + size, b"\0"))
        assert "near" in levels
        everything = pb.SystemSharedMemoryUnregisterRequest()
        stub.SystemSharedMemoryUnregister(everything, metadata=bearer(token), timeout=30)


def put(tensor: Any, offset: int, size: int) -> None:
    """Says that the tensor lies in the region."""
    tensor.parameters["shared_memory_region"].string_param = "r"
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    tensor.parameters["shared_memory_offset"].int64_param = offset


def test_a_client_cannot_say_that_it_is_here(two: Mesh) -> None:
    """What it says of where it comes from is gone; what the gateway sees counts."""
    token = two.token("shares-forged", *SCOPES)
    forged = (("x-headrace-peer", "10.0.0.7"), ("x-forwarded-for", "10.0.0.7"))
    with shared_object(bytes(64)) as (key, _), two.inference() as stub:
        request = pb.SystemSharedMemoryRegisterRequest(name="r", key=key, byte_size=64)
        stub.SystemSharedMemoryRegister(request, metadata=(*bearer(token), *forged), timeout=30)
        with two.http(token) as client:
            found = client.get("/v2/systemsharedmemory/status", headers=dict(forged)).json()
            assert found == [{"name": "r", "key": key, "offset": 0, "byte_size": 64}]
            assert client.post("/v2/systemsharedmemory/region/r/unregister").status_code == 200
            again = {"key": key, "byte_size": 64}
            path = "/v2/systemsharedmemory/region/r/register"
            assert client.post(path, json=again, headers=dict(forged)).status_code == 200
            other = "/v2/systemsharedmemory/region/other/register"
            refused(client.post(other, json={"key": "/../etc/passwd", "byte_size": 1}), "key")
            refused(client.post(other, json={"key": key, "byte_size": -1}), "byte_size")
            refused(client.post(other, json={"key": key, "size": 1}), "size")
            assert client.post(path, json=again).status_code == 409
            assert client.post("/v2/systemsharedmemory/unregister").status_code == 200


def test_a_replicas_own_port_asks_for_the_address_itself(two: Mesh) -> None:
    """No header is believed there; a caller on this machine is one by its address."""
    token = two.token("shares-direct", *SCOPES)
    with shared_object(bytes(64)) as (key, _), two.inference(two.services["inference"][0]) as stub:
        request = pb.SystemSharedMemoryRegisterRequest(name="r", key=key, byte_size=64)
        metadata = (*bearer(token), ("x-headrace-peer", "10.0.0.7"))
        stub.SystemSharedMemoryRegister(request, metadata=metadata, timeout=30)
        with pytest.raises(grpc.RpcError) as error:
            stub.SystemSharedMemoryRegister(request, metadata=metadata, timeout=30)
        assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
        everything = pb.SystemSharedMemoryUnregisterRequest()
        stub.SystemSharedMemoryUnregister(everything, metadata=bearer(token), timeout=30)


def refused(answer: httpx.Response, named: str) -> None:
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["error"]
