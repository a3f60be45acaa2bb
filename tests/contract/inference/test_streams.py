"""ModelStreamInfer over the wire."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.inference.settings import RepositorySettings
from headrace.inference.streams import MAX_IN_FLIGHT
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.contract.inference.conftest import Replica, running
from tests.contract.inference.test_contract import failure
from tests.support.models import SLOW, SLOW_CONFIG, slow_model
from tests.support.small import write_onnx, write_scale
from tests.support.waiting import aeventually

LONG = 8_000  # steps: about four seconds, which a running batch takes whoever has left


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Replica]:
    """A replica with `scale` and `slow`."""
    write_scale(tmp_path / "models")
    write_onnx(tmp_path / "models", SLOW, slow_model(), config=SLOW_CONFIG)
    async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as replica:
        yield replica


def scale(number: float, identity: str = "", model: str = "scale") -> pb.ModelInferRequest:
    x = np.array([[number, 0.0]], np.float32)
    request = pb.ModelInferRequest(model_name=model, id=identity, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    return request


def slow(steps: int, identity: str = "") -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=SLOW, id=identity)
    request.raw_input_contents.append(np.array([[1.0]], np.float32).tobytes())
    request.inputs.add(name="rows", datatype="FP32", shape=[1, 1])
    for name, value in (("steps", steps), ("poison", 0)):
        request.raw_input_contents.append(np.array([[value]], np.int64).tobytes())
        request.inputs.add(name=name, datatype="INT64", shape=[1, 1])
    return request


def stream(replica: Replica, requests: Sequence[pb.ModelInferRequest] = (), *more: tuple[str, str]) -> Any:
    source = iter(requests) if requests else None
    return replica.stub.ModelStreamInfer(source, metadata=(*replica.bearer(), *more))


def value(answer: pb.ModelStreamInferResponse) -> float:
    return float(np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32)[0])


async def statistics(replica: Replica, name: str) -> pb.ModelStatistics:
    request = pb.ModelStatisticsRequest(name=name)
    return (await replica.stub.ModelStatistics(request, metadata=replica.bearer())).model_stats[0]


async def test_many_requests_for_any_model_are_in_flight_on_one_stream(one: Replica) -> None:
    """Each answer carries the id of its request; a slow one holds up nobody."""
    call = stream(one)
    await call.write(slow(LONG, "slow"))
    for number in range(100):
        await call.write(scale(number, str(number)))
    seen: dict[str, float] = {}
    while len(seen) < 100:
        answer = await call.read()
        seen[answer.infer_response.id] = value(answer)
    assert seen == {str(number): 2.0 * number for number in range(100)}
    call.cancel()


async def test_a_bad_request_is_answered_and_the_stream_goes_on(one: Replica) -> None:
    """error_message and the id; beside them the code and the reason of the same error on ModelInfer."""
    wrong = scale(1.0, "wrong")
    wrong.inputs[0].shape[1] = 3
    answers = [answer async for answer in stream(one, [wrong, scale(1.0, "a", "absent"), scale(4.0, "good")])]
    told = {answer.infer_response.id: answer for answer in answers}
    assert value(told["good"]) == 8.0
    assert "inputs[0].shape" in told["wrong"].error_message
    parameters = told["wrong"].infer_response.parameters
    assert parameters["reason"].string_param == "TENSOR_INVALID"
    assert parameters["code"].int64_param == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert told["a"].error_message == "no model 'absent'"
    assert told["good"].error_message == ""


async def test_requests_without_an_id_are_answered_in_their_order(one: Replica) -> None:
    """Nothing else tells them apart; one that fails keeps its place."""
    requests = [slow(500), scale(1.0), scale(2.0, model="absent"), scale(3.0)]
    answers = [answer async for answer in stream(one, requests)]
    assert [answer.error_message or value(answer) for answer in answers] == [
        1.0,
        2.0,
        "no model 'absent'",
        6.0,
    ]


async def test_a_cancelled_stream_cancels_all_of_it(one: Replica) -> None:
    """What waits is not executed, what is counted is given back."""
    call = stream(one)
    for number in range(20):
        await call.write(slow(LONG if number == 0 else 1, str(number)))
    await call.write(scale(1.0, "last"))
    assert (await call.read()).infer_response.id == "last"
    call.cancel()

    async def all_failed() -> bool:
        return (await statistics(one, SLOW)).inference_stats.fail.count == 20

    await aeventually(all_failed)
    assert (await statistics(one, SLOW)).execution_count <= 1


async def test_a_stream_has_a_bound_of_requests_in_flight(one: Replica) -> None:
    """One beyond it is read when another has been answered, and all are answered in the end."""
    requests = [scale(number, str(number)) for number in range(3 * MAX_IN_FLIGHT)]
    seen = {answer.infer_response.id: value(answer) async for answer in stream(one, requests)}
    assert seen == {str(number): 2.0 * number for number in range(3 * MAX_IN_FLIGHT)}


async def test_bytes_that_are_no_request_end_the_stream(one: Replica) -> None:
    """INVALID_ARGUMENT; there is no id to answer to."""
    call = one.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer", None, None)
    code, info, _ = await failure(call(iter([b"\xff\xff"]), metadata=one.bearer()).read())
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "MESSAGE_INVALID")


async def test_a_client_may_have_its_stream_end_with_an_error(one: Replica) -> None:
    """Triton's `triton_grpc_error`: the first error is the stream's status."""
    call = stream(one, [scale(1.0, "a", "absent")], ("triton_grpc_error", "true"))
    code, info, _ = await failure(call.read())
    assert (code.name, info.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_a_final_answer_says_so_when_it_is_asked_to(one: Replica) -> None:
    """Triton's parameter for models with several answers; ours have one, the last."""
    wanted = scale(1.0, "a")
    wanted.parameters["triton_enable_empty_final_response"].bool_param = True
    told = {answer.infer_response.id: answer async for answer in stream(one, [wanted, scale(1.0, "b")])}
    assert told["a"].infer_response.parameters["triton_final_response"].bool_param
    assert not told["b"].infer_response.parameters


async def test_a_stream_ends_with_its_requests(one: Replica) -> None:
    """None: no answer, OK."""
    call = stream(one)
    await call.done_writing()
    assert [answer async for answer in call] == []
    assert await call.code() is grpc.StatusCode.OK


async def test_a_stopping_replica_answers_what_it_has_read(tmp_path: Path) -> None:
    """And tells the client to come again, instead of holding up its own end."""
    write_onnx(tmp_path / "models", SLOW, slow_model(), config=SLOW_CONFIG)
    async with AsyncExitStack() as client:
        async with running(tmp_path, repository=RepositorySettings(tmp_path / "models")) as replica:
            channel = await client.enter_async_context(grpc.aio.insecure_channel(replica.address))
            stub: Any = GRPCInferenceServiceStub(channel)
            call = stub.ModelStreamInfer(metadata=replica.bearer())
            await call.write(slow(300, "first"))
            await call.write(slow(300, "second"))
            assert (await call.read()).infer_response.id == "first"
        assert (await call.read()).infer_response.id == "second"
        code, info, _ = await failure(call.read())
        assert (code.name, info.reason) == ("UNAVAILABLE", "DRAINING")
