"""A real replica tells why it batches as it does, and takes Triton's words for waiting."""

import asyncio
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.inference.core.levels import Depth
from headrace.inference.explain_servicer import OTHERS, visible
from headrace.inference.v1.explain_service_pb2 import ExplainModelRequest
from headrace.inference.v1.explain_service_pb2_grpc import ExplainServiceStub
from headrace.inference.v1.explanation_pb2 import ModelExplanation
from headrace.runtime.rpc import Caller
from tests.contract.inference.conftest import Replica
from tests.support.requests import distinct_rows, linear

REQUESTS = 40


async def explained(replica: Replica, batches: int = 0) -> ModelExplanation:
    """What the replica says of `linear`."""
    answer = await ExplainServiceStub(replica.channel).ExplainModel(
        ExplainModelRequest(model="linear", batches=batches), timeout=10, metadata=replica.bearer("observe")
    )
    return answer.explanation


async def test_a_model_is_explained(replica: Replica) -> None:
    """Its rules, what its batches cost, who waits, what became of all requests, and the last batches with their reasons."""
    calls = [
        replica.stub.ModelInfer(linear(distinct_rows(2, seed)), timeout=10, metadata=replica.bearer())
        for seed in range(REQUESTS)
    ]
    await asyncio.gather(*calls)
    found = await explained(replica)
    assert (found.model, found.version) == ("linear", "1")
    assert (found.rules.max_batch_size, found.rules.instances, found.rules.eager) == (32, 1, True)
    assert (found.counts.executed, found.counts.failed, found.counts.mixed_up) == (REQUESTS, 0, 0)
    assert found.counts.batches == found.curves[0].batches >= 3
    assert sum(batch.requests for batch in (await explained(replica, 64)).batches) == REQUESTS
    assert {batch.cut for batch in found.batches} <= {"idle", "full"}
    # A batch that took long on a busy machine makes the curve say that more rows don't pay.
    assert {batch.bound for batch in found.batches} <= {"all", "size", "cost"}
    assert all(batch.rows == 2 * batch.requests for batch in found.batches)
    assert all(batch.took.ToNanoseconds() > 0 and batch.tenants == 1 for batch in found.batches)
    assert list(found.queues) == []
    times = [batch.cut_time.ToNanoseconds() for batch in found.batches]
    assert times == sorted(times, reverse=True)
    assert len((await explained(replica, 1)).batches) == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ExplainModelRequest(model="nope"), grpc.StatusCode.NOT_FOUND),
        (ExplainModelRequest(model="linear", version="7"), grpc.StatusCode.NOT_FOUND),
        (ExplainModelRequest(model="linear", batches=65), grpc.StatusCode.INVALID_ARGUMENT),
        (ExplainModelRequest(model="broken"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_what_cannot_be_explained(
    replica: Replica, request_: ExplainModelRequest, code: grpc.StatusCode
) -> None:
    """Each has its code."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ExplainServiceStub(replica.channel).ExplainModel(
            request_, timeout=10, metadata=replica.bearer("observe")
        )
    assert error.value.code() == code


async def test_explaining_needs_its_scope(replica: Replica) -> None:
    """Who may infer only is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ExplainServiceStub(replica.channel).ExplainModel(
            ExplainModelRequest(model="linear"), timeout=10, metadata=replica.bearer("infer")
        )
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_other_tenants_are_named_to_operators_only() -> None:
    """Everybody else sees them as one."""
    depths = [
        Depth(1.0, "a", 3, 0.3, 1.0),
        Depth(1.0, "b", 2, 0.2, 1.0),
        Depth(1.0, "c", 1, 0.1, 4.0),
        Depth(2.0, "c", 5, 0.5, 4.0),
    ]
    assert visible(depths, Caller("a", frozenset({"observe", "operate"}))) == depths
    own, others, lower = visible(depths, Caller("a", frozenset({"observe"})))
    assert own == depths[0]
    assert (others.tenant, others.requests, others.weight) == (OTHERS, 3, 5.0)
    assert (lower.rank, lower.tenant, lower.requests) == (2.0, OTHERS, 5)


@pytest.mark.parametrize("name", ["priority", "timeout"])
async def test_a_parameter_for_waiting_is_a_number(replica: Replica, name: str) -> None:
    """PARAMETER_INVALID names it, and nothing is executed."""
    request = linear(distinct_rows(1))
    request.parameters[name].string_param = "soon"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await replica.stub.ModelInfer(request, timeout=10, metadata=replica.bearer())
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    trailing: dict[str, object] = dict(cast("Any", error.value.trailing_metadata()))
    status = Status.FromString(cast("bytes", trailing["grpc-status-details-bin"]))
    info = ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert (info.reason, info.metadata["field"]) == ("PARAMETER_INVALID", f"parameters[{name}]")
    assert (await explained(replica)).counts.executed == 0
