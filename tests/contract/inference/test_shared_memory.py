"""Tensors in shared memory, over the wire: registered, read, written, refused before anything runs."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody

from headrace.inference.rest_body import as_json
from headrace.inference.settings import RepositorySettings
from headrace.inference.v1.rest_service_pb2 import ModelInferRequest as RestRequest
from headrace.inference.v1.rest_service_pb2_grpc import RestServiceStub
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Bearer, Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.echoes import write_echoes
from tests.support.shared import shared_object

SCOPES = ("infer", "observe", "operate")
A, B = np.array([[1, 2]], np.float32), np.array([[10, 20]], np.float32)
MESSAGE_BYTES = 4096


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[list[Replica]]:
    """Two that share what was registered."""
    write_echoes(tmp_path / "models")
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running(
                    tmp_path,
                    replica=name,
                    repository=RepositorySettings(tmp_path / "models", shared=tmp_path / "control"),
                    shared_memory=True,
                    max_message_bytes=MESSAGE_BYTES,
                    max_buffered_bytes=2 * MESSAGE_BYTES,
                )
            )
            for name in ("one", "two")
        ]


@pytest.fixture
def shm() -> Iterator[tuple[str, Path]]:
    """A page: A, B, and nothing behind them."""
    with shared_object((A.tobytes() + B.tobytes()).ljust(MESSAGE_BYTES, b"\0")) as found:
        yield found


def tenants(replica: Replica, tenant: str) -> Bearer:
    return (("authorization", f"Bearer {replica.keys.issue(tenant, SCOPES, 60).text}"),)


async def register(replica: Replica, key: str, who: Bearer | None = None, **fields: Any) -> None:
    request = pb.SystemSharedMemoryRegisterRequest(**{"name": "r", "key": key, "byte_size": 64, **fields})
    await replica.stub.SystemSharedMemoryRegister(request, metadata=who or replica.bearer(*SCOPES))


def shared(tensor: Any, offset: int = 0, size: int = 8, region: str = "r") -> None:
    """Says that the tensor lies in the region."""
    tensor.parameters["shared_memory_region"].string_param = region
    tensor.parameters["shared_memory_byte_size"].int64_param = size
    if offset:
        tensor.parameters["shared_memory_offset"].int64_param = offset


def pair(*, out: bool = True) -> pb.ModelInferRequest:
    """a + b, which lie beside each other, with the answer behind them."""
    request = pb.ModelInferRequest(model_name="sum", id="mine")
    for number, name in enumerate(("a", "b")):
        shared(request.inputs.add(name=name, datatype="FP32", shape=[1, 2]), 8 * number)
    if out:
        shared(request.outputs.add(name="y"), 16)
    return request


async def executed(replica: Replica, model: str = "sum") -> int:
    request = pb.ModelStatisticsRequest(name=model)
    answer = await replica.stub.ModelStatistics(request, metadata=replica.bearer())
    return int(answer.model_stats[0].execution_count)


async def test_tensors_are_read_and_written_there(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """On the replica that did not hear of it too; the answer tells where its output is, and has no bytes of it."""
    await register(replicas[0], shm[0])
    for replica in replicas:
        answer = await replica.stub.ModelInfer(pair(), metadata=replica.bearer())
        (output,) = answer.outputs
        assert (answer.id, output.name, list(output.shape)) == ("mine", "y", [1, 2])
        assert output.parameters["shared_memory_region"].string_param == "r"
        assert output.parameters["shared_memory_byte_size"].int64_param == 8
        assert output.parameters["shared_memory_offset"].int64_param == 16
        assert list(answer.raw_output_contents) == [b""]
        content = shm[1].read_bytes()
        np.testing.assert_array_equal(np.frombuffer(content[16:24], np.float32), [11, 22])
        assert content[:16] == A.tobytes() + B.tobytes()
        assert not any(content[24:])
        shm[1].write_bytes(content[:16].ljust(MESSAGE_BYTES, b"\0"))


async def test_sent_and_shared_tensors_mix(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """What is sent is in the order of those that are not shared; an output that is not shared is sent."""
    one = replicas[0]
    await register(one, shm[0], offset=8, byte_size=8)
    request = pb.ModelInferRequest(model_name="sum", raw_input_contents=[A.tobytes()])
    request.inputs.add(name="a", datatype="FP32", shape=[1, 2])
    shared(request.inputs.add(name="b", datatype="FP32", shape=[1, 2]))
    answer = await one.stub.ModelInfer(request, metadata=one.bearer())
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), [11, 22])


async def test_strings_and_streams(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """Strings have their lengths before them there too; a stream is as good as a call."""
    one = replicas[0]
    await register(one, shm[0], byte_size=64)
    value = b"\x02\0\0\0hi\x01\0\0\0!"
    shm[1].write_bytes(value.ljust(64, b"\0"))
    request = pb.ModelInferRequest(model_name="strings")
    shared(request.inputs.add(name="x", datatype="BYTES", shape=[1, 2]), 0, len(value))
    shared(request.outputs.add(name="y"), 32, 32)
    stream = one.stub.ModelStreamInfer(iter([request]), metadata=one.bearer())
    answers = [answer async for answer in stream]
    assert [answer.error_message for answer in answers] == [""]
    output = answers[0].infer_response.outputs[0]
    assert output.parameters["shared_memory_byte_size"].int64_param == len(value)
    assert shm[1].read_bytes()[32 : 32 + len(value)] == value


async def test_rest_says_the_same(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """Parameters of inputs and outputs in JSON, and of the output in the answer; no data there."""
    one = replicas[0]
    await register(one, shm[0])
    place = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    body = {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": place},
            {"name": "b", "datatype": "FP32", "shape": [1, 2], "data": [5, 6]},
        ],
        "outputs": [{"name": "y", "parameters": {**place, "shared_memory_offset": 16}}],
    }
    answer = await RestServiceStub(one.channel).ModelInfer(
        RestRequest(model_name="sum", body=HttpBody(data=as_json(body))), metadata=one.bearer()
    )
    assert b'"data"' not in answer.data
    assert b'"shared_memory_offset":16' in answer.data
    np.testing.assert_array_equal(np.frombuffer(shm[1].read_bytes()[16:24], np.float32), [6, 8])


async def test_the_status_is_the_tenants(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """All of them or one by name, on every replica; another tenant sees none and can use none."""
    one, two = replicas
    await register(one, shm[0], offset=8, byte_size=40)
    status = two.stub.SystemSharedMemoryStatus
    found = (await status(pb.SystemSharedMemoryStatusRequest(name="r"), metadata=two.bearer())).regions
    assert [(r.name, r.key, r.offset, r.byte_size) for r in found.values()] == [("r", shm[0], 8, 40)]
    other = tenants(two, "tenant-b")
    assert not (await status(pb.SystemSharedMemoryStatusRequest(), metadata=other)).regions
    _, info, _ = await failure(status(pb.SystemSharedMemoryStatusRequest(name="r"), metadata=other))
    assert info.reason == "REGION_NOT_FOUND"
    code, info, _ = await failure(two.stub.ModelInfer(pair(), metadata=other))
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "TENSOR_INVALID")
    assert "inputs[0]" in info.metadata["field"] or "outputs[0]" in info.metadata["field"]
    code, info, _ = await failure(register(two, shm[0], other))
    assert (code.name, info.metadata["field"]) == ("INVALID_ARGUMENT", "key")
    await one.stub.SystemSharedMemoryUnregister(
        pb.SystemSharedMemoryUnregisterRequest(), metadata=one.bearer(*SCOPES)
    )
    assert not (await status(pb.SystemSharedMemoryStatusRequest(), metadata=two.bearer())).regions


Change = Callable[[pb.ModelInferRequest], object]


def parameter(kind: str, name: str, **value: Any) -> Change:
    def change(request: pb.ModelInferRequest) -> None:
        getattr(request, kind)[0].parameters[f"shared_memory_{name}"].CopyFrom(pb.InferParameter(**value))

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (parameter("inputs", "region", string_param="absent"), "inputs[0].parameters[shared_memory_region]"),
        (
            parameter("outputs", "region", string_param="absent"),
            "outputs[0].parameters[shared_memory_region]",
        ),
        (parameter("inputs", "region", int64_param=1), "inputs[0].parameters[shared_memory_region]"),
        (parameter("inputs", "byte_size", int64_param=65), "inputs[0].parameters[shared_memory_byte_size]"),
        (parameter("inputs", "byte_size", int64_param=-1), "inputs[0].parameters[shared_memory_byte_size]"),
        (parameter("inputs", "byte_size", string_param="8"), "inputs[0].parameters[shared_memory_byte_size]"),
        (parameter("inputs", "byte_size", int64_param=4), "inputs[0].parameters[shared_memory_region]"),
        (parameter("inputs", "offset", int64_param=60), "inputs[0].parameters[shared_memory_byte_size]"),
        (parameter("inputs", "offset", int64_param=-8), "inputs[0].parameters[shared_memory_offset]"),
        (
            parameter("inputs", "offset", uint64_param=2**64 - 1),
            "inputs[0].parameters[shared_memory_byte_size]",
        ),
        (parameter("outputs", "byte_size", int64_param=7), "outputs[0].parameters[shared_memory_byte_size]"),
        (parameter("outputs", "offset", int64_param=57), "outputs[0].parameters[shared_memory_byte_size]"),
        (parameter("outputs", "byte_size", int64_param=5000), "shared_memory_byte_size"),
        (lambda request: request.inputs[0].parameters.pop("shared_memory_byte_size"), "inputs[0]"),
        (lambda request: request.raw_input_contents.append(b"x" * 8), "raw_input_contents"),
        (lambda request: request.inputs[0].contents.fp32_contents.append(1), "inputs[0]"),
        (lambda request: request.inputs[0].parameters.clear(), "inputs[0]"),
    ],
)
async def test_a_wrong_use_is_refused_before_anything_runs(
    replicas: list[Replica], shm: tuple[str, Path], change: Change, field: str
) -> None:
    """TENSOR_INVALID that names the parameter; nothing executed, nothing written."""
    one = replicas[0]
    await register(one, shm[0])
    before, request = shm[1].read_bytes(), pair()
    change(request)
    code, info, _ = await failure(one.stub.ModelInfer(request, metadata=one.bearer()))
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "TENSOR_INVALID")
    assert field in info.metadata["field"]
    assert await executed(one) == 0
    assert shm[1].read_bytes() == before


async def test_memory_that_shrinks_ends_no_replica(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """A mapping would be its end (SIGBUS): an error, and the next request is answered."""
    one = replicas[0]
    await register(one, shm[0])
    os.truncate(shm[1], 4)
    code, info, _ = await failure(one.stub.ModelInfer(pair(), metadata=one.bearer()))
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "TENSOR_INVALID")
    os.truncate(shm[1], 64)
    shm[1].write_bytes((A.tobytes() + B.tobytes()).ljust(64, b"\0"))
    await one.stub.ModelInfer(pair(), metadata=one.bearer())
    np.testing.assert_array_equal(np.frombuffer(shm[1].read_bytes()[16:24], np.float32), [11, 22])


async def test_an_output_that_turns_out_too_large_is_an_error(
    replicas: list[Replica], shm: tuple[str, Path]
) -> None:
    """Where no size is known before it is made; nothing is written."""
    one = replicas[0]
    await register(one, shm[0])
    request = pb.ModelInferRequest(model_name="echo")
    shared(request.inputs.add(name="x", datatype="FP32", shape=[1, 4]), 0, 16)
    shared(request.outputs.add(name="y"), 16, 12)
    before = shm[1].read_bytes()
    _, info, status = await failure(one.stub.ModelInfer(request, metadata=one.bearer()))
    assert info.metadata["field"] == "outputs[0].parameters[shared_memory_byte_size]"
    assert "at least 16" in status.message
    assert shm[1].read_bytes() == before


async def test_registering_is_the_operators(replicas: list[Replica], shm: tuple[str, Path]) -> None:
    """PERMISSION_DENIED without the scope, and a region that is none is named."""
    one = replicas[0]
    code, info, _ = await failure(register(one, shm[0], one.bearer("infer", "observe")))
    assert (code.name, info.reason) == ("PERMISSION_DENIED", "SCOPE_MISSING")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"byte_size": MESSAGE_BYTES + 1}, "byte_size"),
        ({"byte_size": 2**64 - 1, "offset": 8}, "byte_size"),
        ({"key": "/../etc/passwd"}, "key"),
        ({"name": ""}, "name"),
    ]
    for fields, field in wrong:
        code, info, _ = await failure(register(one, **{"key": shm[0], **fields}))
        assert (code.name, info.reason, info.metadata["field"]) == (
            "INVALID_ARGUMENT",
            "REGION_INVALID",
            field,
        )
    await register(one, shm[0])
    code, info, _ = await failure(register(one, shm[0]))
    assert (code.name, info.reason) == ("ALREADY_EXISTS", "REGION_EXISTS")


async def test_the_extension_is_told_of_where_it_is_served(
    replicas: list[Replica], replica: Replica, shm: tuple[str, Path]
) -> None:
    """And where it is off, as it is by default, memory is refused and a tensor in it too."""
    told = (
        await replicas[0].stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=replicas[0].bearer())
    ).extensions
    assert "system_shared_memory" in told
    off = (
        await replica.stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=replica.bearer())
    ).extensions
    assert "system_shared_memory" not in off
    code, info, _ = await failure(register(replica, shm[0]))
    assert (code, info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SHARED_MEMORY_OFF")
    request = pb.ModelInferRequest(model_name="linear")
    shared(request.inputs.add(name="x", datatype="FP32", shape=[1, 16]))
    _, info, _ = await failure(replica.stub.ModelInfer(request, metadata=replica.bearer()))
    assert info.metadata["field"] == "inputs[0].parameters[shared_memory_region]"
