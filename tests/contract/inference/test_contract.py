"""inference.GRPCInferenceService over the wire."""

import json
from typing import Any, cast

import grpc
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from headrace.inference.demo import linear
from headrace.inference.servicer import SCOPES, SERVICE, InferenceServicer
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.runtime.rpc import methods_of
from tests.contract.inference.conftest import Replica
from tests.support.descriptors import TRITON


def request(model: str = "linear", rows: int = 1, **fields: Any) -> pb.ModelInferRequest:
    x = np.arange(rows * 16, dtype=np.float32).reshape(rows, 16)
    message = pb.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()], **fields)
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    return message


async def failure(call: Any) -> tuple[grpc.StatusCode, ErrorInfo, Status]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    trailing: dict[str, Any] = dict(cast("Any", error.value.trailing_metadata()))
    status = Status.FromString(trailing["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert status.code == error.value.code().value[0]
    return error.value.code(), info, status


async def test_an_answer_is_the_models_and_tells_its_timings(replica: Replica) -> None:
    """Values, identity, and where the time went in trailing metadata."""
    call = replica.stub.ModelInfer(request(rows=3, id="q"), metadata=replica.bearer())
    answer = await call
    weights, bias = linear.weights()
    x = np.arange(48, dtype=np.float32).reshape(3, 16)
    y = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(3, 4)
    np.testing.assert_array_equal(y, x @ weights + bias)
    assert (answer.model_name, answer.model_version, answer.id) == ("linear", "1", "q")
    told = dict(await call.trailing_metadata())
    assert told["headrace-batch-size"] == "3"
    assert told["headrace-replica"] == "inference-0"
    assert len(told["headrace-trace-id"]) == 32
    assert int(told["headrace-total-us"]) >= int(told["headrace-compute-us"]) > 0


@pytest.mark.parametrize(
    ("message", "code", "reason", "metadata"),
    [
        (request("nope"), "NOT_FOUND", "MODEL_NOT_FOUND", {"model": "nope"}),
        (request("../linear"), "NOT_FOUND", "MODEL_NOT_FOUND", {"model": "../linear"}),
        (
            request(model_version="7"),
            "NOT_FOUND",
            "VERSION_NOT_FOUND",
            {"model": "linear", "version": "7"},
        ),
        (request("broken"), "UNAVAILABLE", "MODEL_NOT_READY", {"model": "broken", "state": "UNAVAILABLE"}),
        (
            request(rows=33),
            "INVALID_ARGUMENT",
            "TENSOR_INVALID",
            {"model": "linear", "field": "inputs[0].shape"},
        ),
    ],
)
async def test_each_reason_has_its_code(
    replica: Replica, message: pb.ModelInferRequest, code: str, reason: str, metadata: dict[str, str]
) -> None:
    """Code, reason, domain and metadata of the contract; RetryInfo where waiting may help."""
    got, info, status = await failure(replica.stub.ModelInfer(message, metadata=replica.bearer()))
    assert (got.name, info.reason, info.domain) == (code, reason, "inference.headrace")
    assert dict(info.metadata) == metadata
    assert (code == "UNAVAILABLE") == any(one.Is(RetryInfo.DESCRIPTOR) for one in status.details)


async def test_a_deadline_too_short_is_not_executed(replica: Replica) -> None:
    """The parameter `timeout`, in microseconds, lowers the request's deadline."""
    message = request()
    message.parameters["timeout"].int64_param = 1
    code, info, _ = await failure(replica.stub.ModelInfer(message, metadata=replica.bearer()))
    assert (code.name, info.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    statistics = await replica.stub.ModelStatistics(
        pb.ModelStatisticsRequest(name="linear"), metadata=replica.bearer()
    )
    assert statistics.model_stats[0].execution_count == 0
    assert statistics.model_stats[0].inference_stats.fail.count == 1


async def test_bytes_that_are_no_request_are_invalid_argument(replica: Replica) -> None:
    """Not INTERNAL, and without the parser's words."""
    call = replica.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
    code, info, _ = await failure(call(b"\xff\xff\xff", metadata=replica.bearer()))
    assert (code.name, info.reason) == ("INVALID_ARGUMENT", "MESSAGE_INVALID")


async def test_statistics_are_exact(replica: Replica) -> None:
    """Rows are inferences, runs of the model are executions, requests succeed or fail."""
    for rows in (1, 2, 2):
        await replica.stub.ModelInfer(request(rows=rows), metadata=replica.bearer())
    answer = await replica.stub.ModelStatistics(
        pb.ModelStatisticsRequest(name="linear"), metadata=replica.bearer()
    )
    (model,) = answer.model_stats
    assert (model.inference_count, model.execution_count) == (5, 3)
    assert (model.inference_stats.success.count, model.inference_stats.queue.count) == (3, 3)
    assert [(one.batch_size, one.compute_infer.count) for one in model.batch_stats] == [(1, 1), (2, 2)]


async def test_the_index_tells_what_does_not_serve_and_why(replica: Replica) -> None:
    """A model that does not load leaves the others serving."""
    answer = await replica.stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=replica.bearer())
    states = {model.name: model.state for model in answer.models}
    assert states == {"linear": "READY", "broken": "UNAVAILABLE"}
    ready = await replica.stub.ServerReady(pb.ServerReadyRequest(), metadata=replica.bearer())
    assert not ready.ready
    broken = await replica.stub.ModelReady(pb.ModelReadyRequest(name="broken"), metadata=replica.bearer())
    assert not broken.ready


async def test_metadata_and_config_are_the_models(replica: Replica) -> None:
    """The batch dimension is -1; the configuration is the folder's, with the operator's settings."""
    told = await replica.stub.ModelMetadata(pb.ModelMetadataRequest(name="linear"), metadata=replica.bearer())
    assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("x", "FP32", [-1, 16])]
    assert (told.platform, list(told.versions)) == ("onnxruntime_onnx", ["1"])
    config = await replica.stub.ModelConfig(pb.ModelConfigRequest(name="linear"), metadata=replica.bearer())
    assert config.config.max_batch_size == 32
    assert config.config.dynamic_batching.default_queue_policy.max_queue_size == 50


async def test_every_method_needs_its_scope(replica: Replica) -> None:
    """No token: UNAUTHENTICATED; a token without the scope: PERMISSION_DENIED. Default deny."""
    scopes = {"infer", "observe", "operate"}
    for method in SERVICE.methods:
        path = f"/{SERVICE.full_name}/{method.name}"
        call = replica.channel.unary_unary(path, None, None)
        assert (await failure(call(b"")))[0].name == "UNAUTHENTICATED"
        others = replica.bearer(*(scopes - {SCOPES[path]}))
        assert (await failure(call(b"", metadata=others)))[0].name == "PERMISSION_DENIED", path


async def test_identity_headers_are_not_believed_on_tcp(replica: Replica) -> None:
    """Only the gateway's Unix socket may name the caller."""
    forged = (("x-tenant-id", "victim"), ("x-headrace-scopes", "infer observe operate"))
    code, _, _ = await failure(replica.stub.ModelInfer(request(), metadata=forged))
    assert code.name == "UNAUTHENTICATED"


def test_scopes_name_served_methods_only() -> None:
    """A scope for a method that is not served would hide a missing one."""

    class Everything:
        def __getattr__(self, name: str) -> str:
            return name

    assert set(SCOPES) <= {method.path for method in methods_of(SERVICE, Everything())}


KSERVE = {
    "inference.RepositoryModelLoadResponse": {
        "model_name": [1, 9, False, "", ""],
        "isLoaded": [2, 8, False, "", ""],
    },
    "inference.RepositoryModelUnloadResponse": {
        "model_name": [1, 9, False, "", ""],
        "isUnloaded": [2, 8, False, "", ""],
    },
}
"""What KServe's dialect of the same service adds to answers that are empty in Triton's."""


def test_the_contract_is_tritons_and_kserves() -> None:
    """Every message, field, number, type and RPC is the one that tritonclient 2.73 speaks; KServe adds fields."""
    from tests.support.descriptors import described

    ours = described([pb.DESCRIPTOR, *pb.DESCRIPTOR.dependencies])
    assert ours == {**json.loads(TRITON.read_text()), **KSERVE}


def test_every_rpc_of_the_contract_is_served() -> None:
    """All 20, each with a scope."""
    assert len(SERVICE.methods) == 20
    assert {path.rpartition("/")[2] for path in SCOPES} == {method.name for method in SERVICE.methods}
    assert len(methods_of(SERVICE, InferenceServicer)) == 20


async def test_a_long_word_of_the_callers_does_not_burst_the_answer(replica: Replica) -> None:
    """An error repeats so much of it that a client takes the answer."""
    for message in (request("m" * 60_000), request(model_version="1" * 60_000)):
        code, _, status = await failure(replica.stub.ModelInfer(message, metadata=replica.bearer()))
        assert code.name == "NOT_FOUND"
        assert len(status.message) < 600
