"""What goes in comes out: NaN and infinities, strings with zeros, nothing at all, scalars, much at once.

The scenarios of Triton's L0_nan_inf, L0_nullchar_string, L0_string_io,
L0_infer_zero, L0_scalar_io and L0_large_payload.
"""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody

from headrace.inference.core.tensors import join_strings
from headrace.inference.settings import RepositorySettings
from headrace.inference.v1.rest_service_pb2 import ModelInferRequest as HttpInferRequest
from headrace.inference.v1.rest_service_pb2_grpc import RestServiceStub
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.echoes import write_echoes

ODD = np.array([0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 0x80000000, 1], np.uint32)
"""FP32 bits: NaNs of three kinds, both infinities, -0.0, the smallest number there is."""


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Replica]:
    """A replica with the models that give back what they get."""
    write_echoes(tmp_path / "models")
    async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as replica:
        yield replica


def request(model: str, shape: Sequence[int], raw: bytes, datatype: str = "FP32") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[raw])
    message.inputs.add(name="x", datatype=datatype, shape=shape)
    return message


async def answered(one: Replica, message: pb.ModelInferRequest) -> tuple[list[int], bytes]:
    """The output's shape and raw bytes."""
    answer = await one.stub.ModelInfer(message, metadata=one.bearer())
    return list(answer.outputs[0].shape), answer.raw_output_contents[0]


async def over_http(one: Replica, model: str, shape: Sequence[int], data: Any, datatype: str = "FP32") -> Any:
    """The output of a JSON body, read by a parser that takes nothing but JSON."""
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
    body = HttpBody(data=json.dumps({"inputs": [tensor]}, allow_nan=False).encode())
    answer = await RestServiceStub(one.channel).ModelInfer(
        HttpInferRequest(model_name=model, body=body), metadata=one.bearer()
    )

    def no_json(word: str) -> None:
        raise AssertionError(word)

    return json.loads(answer.data, parse_constant=no_json)["outputs"][0]


async def test_every_bit_of_a_float_comes_back(one: Replica) -> None:
    """Which NaN it was, too; raw, and typed where protobuf keeps the bits."""
    assert await answered(one, request("echo", (1, 7), ODD.tobytes())) == ([1, 7], ODD.tobytes())
    typed = pb.ModelInferRequest(model_name="echo")
    tensor = typed.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    tensor.contents.fp32_contents.extend([float("inf"), float("-inf"), -0.0, float("nan")])
    _, raw = await answered(one, typed)
    np.testing.assert_array_equal(np.frombuffer(raw, np.float32), [np.inf, -np.inf, 0.0, np.nan])


async def test_json_has_null_for_what_it_has_no_number_for(one: Replica) -> None:
    """The logarithms of -1 and of 0 are NaN and an infinity; the answer is JSON all the same."""
    assert (await over_http(one, "log", (1, 2), [-1.0, 0.0]))["data"] == [None, None]
    assert (await over_http(one, "log", (1, 2), [1.0, 1]))["data"] == [0.0, 0.0]


@pytest.mark.parametrize("number", [1e39, -1e39, 10**40])
async def test_a_number_in_json_is_no_infinity(one: Replica, number: float) -> None:
    """What FP32 can't hold is refused by its place, not turned into what nobody sent."""
    with pytest.raises(grpc.aio.AioRpcError, match=r"inputs\[0\].data: a value is out of FP32's range"):
        await over_http(one, "echo", (1, 1), [number])
    assert (await over_http(one, "echo", (1, 2), [2**63, 1e-60]))["data"] == [2.0**63, 0.0]


@pytest.mark.parametrize("place", range(5))
async def test_a_model_may_refuse_what_is_no_number(one: Replica, place: int) -> None:
    """With `headrace_finite`: by the input's name, before its batch-mates meet it."""
    code, info, status = await failure(
        one.stub.ModelInfer(request("finite", (1, 1), ODD[place].tobytes()), metadata=one.bearer())
    )
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "TENSOR_INVALID")
    assert "expected finite values" in status.message
    assert "'x'" in status.message


async def test_a_model_that_refuses_takes_every_number(one: Replica) -> None:
    """The largest, the smallest, and -0.0, bit by bit."""
    largest = np.finfo(np.float32).max
    raw = np.array([largest, -largest, -0.0, 1e-45], np.float32).tobytes()
    assert await answered(one, request("finite", (2, 2), raw)) == ([2, 2], raw)


TEXTS = ["a\0b", "", "\0", "é\U0001f600", ' \n"\\', "x" * 100_000]


async def test_strings_come_back_as_they_were(one: Replica) -> None:
    """Zeros within them, nothing, four-byte characters, long ones: raw, typed, and in JSON."""
    texts = [text.encode() for text in TEXTS]
    raw = join_strings(texts)
    assert await answered(one, request("strings", (2, 3), raw, "BYTES")) == ([2, 3], raw)
    typed = pb.ModelInferRequest(model_name="strings")
    tensor = typed.inputs.add(name="x", datatype="BYTES", shape=[2, 3])
    tensor.contents.bytes_contents.extend(texts)
    assert await answered(one, typed) == ([2, 3], raw)
    output = await over_http(one, "strings", (2, 3), TEXTS, "BYTES")
    assert (output["data"], output["datatype"]) == (TEXTS, "BYTES")


async def test_a_tensor_may_have_nothing_in_it(one: Replica) -> None:
    """A dimension of 0 is a shape like another, alone and with others in a batch; no row at all is no request."""
    assert await answered(one, request("echo", (2, 0), b"")) == ([2, 0], b"")
    assert await answered(one, request("strings", (1, 0), b"", "BYTES")) == ([1, 0], b"")
    assert (await over_http(one, "echo", (2, 0), []))["data"] == []
    code, _, status = await failure(one.stub.ModelInfer(request("echo", (0, 2), b""), metadata=one.bearer()))
    assert code.name == "INVALID_ARGUMENT"
    assert "at least 1 row" in status.message


async def test_a_scalar_has_no_dimensions(one: Replica) -> None:
    """Its shape is empty, its data one number; a tensor of one element is another thing."""
    raw = np.array(2.5, np.float32).tobytes()
    assert await answered(one, request("scalar", (), raw)) == ([], raw)
    output = await over_http(one, "scalar", (), [2.5])
    assert (output["shape"], output["data"]) == ([], [2.5])
    code, _, _ = await failure(one.stub.ModelInfer(request("scalar", (1,), raw), metadata=one.bearer()))
    assert code.name == "INVALID_ARGUMENT"
    assert await answered(one, request("echo", (1, 1), raw)) == ([1, 1], raw)


async def test_much_at_once_comes_back_whole(one: Replica) -> None:
    """16 MiB each way, of numbers and of strings; the limits themselves are the mesh's tests."""
    numbers = np.arange(4 * 2**20, dtype=np.float32).tobytes()
    texts = join_strings([b"s" * 2**20] * 16)
    limits = [("grpc.max_receive_message_length", 2**26), ("grpc.max_send_message_length", 2**26)]
    async with grpc.aio.insecure_channel(one.address, options=limits) as channel:
        wide = replace(one, stub=GRPCInferenceServiceStub(channel))
        assert await answered(wide, request("echo", (4, 2**20), numbers)) == ([4, 2**20], numbers)
        assert await answered(wide, request("strings", (4, 4), texts, "BYTES")) == ([4, 4], texts)
