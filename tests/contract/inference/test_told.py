"""`headrace_explain`: an answer that tells of itself, in each of the contract's forms."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.api.httpbody_pb2 import HttpBody

from headrace.inference.settings import RepositorySettings
from headrace.inference.v1.rest_service_pb2 import ModelInferRequest as HttpInferRequest
from headrace.inference.v1.rest_service_pb2_grpc import RestServiceStub
from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.small import write_scale

TELLS = {
    "headrace_queue_us",
    "headrace_batch_wait_us",
    "headrace_compute_us",
    "headrace_total_us",
    "headrace_batch_size",
    "headrace_batch_position",
    "headrace_replica",
    "headrace_trace_id",
}
"""Of an answer that no cache was asked for and nobody bills."""

Values = dict[str, int | str]


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Replica]:
    """A replica with `scale`."""
    write_scale(tmp_path / "models")
    async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as replica:
        yield replica


def asking(identity: str = "", *, explain: bool = True) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="scale", id=identity)
    request.inputs.add(name="x", datatype="FP32", shape=[3, 2])
    request.raw_input_contents.append(np.ones((3, 2), np.float32).tobytes())
    if explain:
        request.parameters["headrace_explain"].bool_param = True
    return request


def values(parameters: Mapping[str, Any]) -> Values:
    return {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in parameters.items()}


async def test_parameters_tell_what_the_trailing_metadata_does(one: Replica) -> None:
    """Name by name and value by value."""
    call = one.stub.ModelInfer(asking("q"), metadata=one.bearer())
    answer = await call
    trailing: Mapping[str, str] = dict(await call.trailing_metadata())
    said = values(answer.parameters)
    assert set(said) == TELLS
    assert {name: str(value) for name, value in said.items()} == {
        name: trailing[name.replace("_", "-")] for name in TELLS
    }
    assert (said["headrace_batch_size"], said["headrace_batch_position"]) == (3, 0)
    assert (answer.id, len(answer.raw_output_contents)) == ("q", 1)


async def test_nothing_is_told_unasked(one: Replica) -> None:
    """The answer is what it was before there was anything to tell."""
    answer = await one.stub.ModelInfer(asking(explain=False), metadata=one.bearer())
    assert not answer.parameters


async def test_each_request_of_a_stream_is_told_of_by_itself(one: Replica) -> None:
    """A stream has one trailer for all of them: this is the only way to their timings."""
    requests = [asking("a"), asking("b", explain=False), asking("c")]
    answers = one.stub.ModelStreamInfer(iter(requests), metadata=one.bearer())
    said = {answer.infer_response.id: values(answer.infer_response.parameters) async for answer in answers}
    assert (set(said["a"]), set(said["b"]), set(said["c"])) == (TELLS, set(), TELLS)


@pytest.mark.parametrize("binary", [False, True])
async def test_an_http_answer_tells_too(one: Replica, binary: bool) -> None:
    """As `parameters` of the JSON object, with tensors in it or behind it."""
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
        "parameters": {"headrace_explain": True, "binary_data_output": binary},
    }
    request = HttpInferRequest(model_name="scale", body=HttpBody(data=json.dumps(body).encode()))
    call = RestServiceStub(one.channel).ModelInfer(request, metadata=one.bearer())
    answer = await call
    headers: Mapping[str, str] = dict(await call.initial_metadata())
    size = int(headers.get("inference-header-content-length", len(answer.data)))
    said = json.loads(answer.data[:size])
    assert set(said["parameters"]) == TELLS
    assert said["parameters"]["headrace_total_us"] == int(headers["headrace-total-us"])
    if binary:
        assert np.frombuffer(answer.data[size:], np.float32).tolist() == [2.0, 4.0]
    else:
        assert said["outputs"][0]["data"] == [2.0, 4.0]


async def test_a_question_of_the_wrong_kind_is_refused(one: Replica) -> None:
    """By the parameter's name."""
    request = asking(explain=False)
    request.parameters["headrace_explain"].string_param = "true"
    code, info, _ = await failure(one.stub.ModelInfer(request, metadata=one.bearer()))
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "PARAMETER_INVALID")
    assert info.metadata["field"] == "parameters[headrace_explain]"
