"""A real replica: requests with and without an optional input, beside each other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody
from numpy.typing import NDArray

from headrace.inference.rest_body import as_json, parse_object
from headrace.inference.settings import RepositorySettings
from headrace.inference.v1 import rest_service_pb2 as rest_pb
from headrace.inference.v1.rest_service_pb2_grpc import RestServiceStub
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.requests import output, request_of
from tests.support.small import shift_model, write_onnx

CONFIG = (
    'input { name: "x" data_type: TYPE_FP32 dims: -1 } '
    'input { name: "by" data_type: TYPE_FP32 dims: 1 optional: true } '
)
REQUESTS = 40


@pytest.fixture
async def shifting(tmp_path: Path) -> AsyncIterator[Replica]:
    """Serves `shift`: y = x + by, where `by` is 10 unless it is sent."""
    write_onnx(tmp_path / "models", "shift", shift_model(), config=CONFIG)
    async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as found:
        yield found


def request(number: int, by: float | None) -> pb.ModelInferRequest:
    inputs: dict[str, tuple[str, NDArray[np.generic]]] = {"x": ("FP32", np.array([number], np.float32))}
    if by is not None:
        inputs["by"] = ("FP32", np.array([by], np.float32))
    return request_of("shift", inputs, str(number))


async def test_each_request_has_its_own_set_of_inputs(shifting: Replica) -> None:
    """All at once: who left it out has the default, whatever those beside them sent; one run for each."""
    asked = [request(number, None if number % 3 else float(number)) for number in range(REQUESTS)]
    answers = await asyncio.gather(
        *(shifting.stub.ModelInfer(one, metadata=shifting.bearer(), timeout=30) for one in asked)
    )
    expected = [number + (10 if number % 3 else number) for number in range(REQUESTS)]
    assert [output(answer, "y").tolist() for answer in answers] == [[float(one)] for one in expected]
    told = await shifting.stub.ModelStatistics(
        pb.ModelStatisticsRequest(name="shift"), metadata=shifting.bearer()
    )
    assert told.model_stats[0].execution_count == REQUESTS


async def test_what_is_needed_is_missed(shifting: Replica) -> None:
    """By its name; and an optional input that is sent is checked as any other, its place and its size."""
    alone = request_of("shift", {"by": ("FP32", np.array([1], np.float32))})
    empty = request(1, 1.0)
    empty.inputs[1].ClearField("shape")
    empty.raw_input_contents[1] = b""
    short = request(1, 1.0)
    short.raw_input_contents[1] = b""
    lacking = request(1, 1.0)
    del lacking.raw_input_contents[1]
    for wrong, words in (
        (alone, "input 'x' is missing"),
        (empty, "inputs[1].shape"),
        (short, "raw_input_contents[1]"),
        (lacking, "expected 2 entries"),
    ):
        code, info, status = await failure(shifting.stub.ModelInfer(wrong, metadata=shifting.bearer()))
        assert (code.name, info.reason) == ("INVALID_ARGUMENT", "TENSOR_INVALID")
        assert words in status.message


async def test_rest_may_leave_it_out(shifting: Replica) -> None:
    """In the protocol's own form and in those where inputs are fields."""
    rest, bearer = RestServiceStub(shifting.channel), shifting.bearer()
    x = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}
    body = HttpBody(data=as_json({"inputs": [x]}))
    answer = await rest.ModelInfer(rest_pb.ModelInferRequest(model_name="shift", body=body), metadata=bearer)
    assert b'"data":[11.0,12.0]' in answer.data
    for sent, expected in (({"x": [1, 2]}, [11.0, 12.0]), ({"x": [1, 2], "by": [1]}, [2.0, 3.0])):
        body = HttpBody(data=as_json({"inputs": sent}))
        answer = await rest.Predict(rest_pb.PredictRequest(model_name="shift", body=body), metadata=bearer)
        assert parse_object(answer.data, {"outputs": list})["outputs"] == expected


async def test_its_configuration_says_so(shifting: Replica) -> None:
    """Triton's field; its metadata lists it as any other."""
    config = await shifting.stub.ModelConfig(pb.ModelConfigRequest(name="shift"), metadata=shifting.bearer())
    assert [(one.name, one.optional) for one in config.config.input] == [("x", False), ("by", True)]
    metadata = await shifting.stub.ModelMetadata(
        pb.ModelMetadataRequest(name="shift"), metadata=shifting.bearer()
    )
    assert [one.name for one in metadata.inputs] == ["x", "by"]
