"""headrace.scaling.v1.ScalingService over the wire."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.runtime.channels import open_channel
from headrace.scaling.app import build
from headrace.scaling.client import Action, Cause, KnownPool, ScalingClient
from headrace.scaling.servicer import SCOPES, SERVICE
from headrace.scaling.settings import Settings
from headrace.scaling.v1.scaling_service_pb2 import (
    ListDecisionsRequest,
    ListPoolsRequest,
    SetAutoRequest,
    SetReplicasRequest,
)
from headrace.scaling.v1.scaling_service_pb2_grpc import ScalingServiceStub
from tests.contract.scaling.conftest import Credentials
from tests.fakes.scaling import FakeFleet

REQUESTS: dict[str, Any] = {
    "ListPools": ListPoolsRequest(),
    "SetReplicas": SetReplicasRequest(replicas=2),
    "SetAuto": SetAutoRequest(),
    "ListDecisions": ListDecisionsRequest(),
}


async def refusal(call: Any) -> tuple[str, ErrorInfo]:
    """The code and the reason of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    trailers = dict(cast("Iterable[tuple[str, bytes]]", raised.value.trailing_metadata()))
    info = ErrorInfo()
    assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    return raised.value.code().name, info


async def pool_that(client: ScalingClient, holds: Callable[[KnownPool], bool]) -> KnownPool:
    """The pool as soon as it is so."""
    async with asyncio.timeout(10.0):
        while True:
            (pool,) = await client.pools()
            if holds(pool):
                return pool
            await asyncio.sleep(0.02)


async def test_a_pool_tells_what_runs_and_why(local: grpc.aio.Channel, fleet: FakeFleet) -> None:
    """What its owner says runs, the bounds, the mode, and the last decision with what was missing for it."""
    pool = await pool_that(ScalingClient(local), lambda pool: pool.last is not None)
    assert (pool.name, pool.model, pool.mode) == ("inference", "", "auto")
    assert (pool.current, pool.desired, pool.least, pool.most) == (2, 2, 1, 5)
    assert (pool.changing, pool.problem) == (False, "")
    assert pool.last is not None
    made = pool.last.decision
    assert (made.action, made.cause) == (Action.HOLD, Cause.NO_DATA)
    assert made.stale == ("inference-0", "inference-1")


async def test_a_number_that_is_set_is_made_real(local: grpc.aio.Channel, fleet: FakeFleet) -> None:
    """It answers with the new number; the replicas come one after the other, and stay until it is ended."""
    client = ScalingClient(local)
    pool = await client.set_replicas(4)
    assert (pool.desired, pool.mode) == (4, "pinned")
    pool = await pool_that(client, lambda pool: pool.current == 4 and not pool.changing)
    assert fleet.steps == ["SERVING inference-2", "SERVING inference-3"]
    pool = await client.set_auto()
    assert (pool.desired, pool.mode) == (4, "auto")
    causes = [(entry.decision.cause, entry.decision.after) for entry in await client.decisions()]
    assert causes[:2] == [(Cause.UNPINNED, 4), (Cause.PINNED, 4)]


async def test_a_failure_to_start_is_told(local: grpc.aio.Channel, fleet: FakeFleet) -> None:
    """The pool says why it is not there yet; the number stays, and is tried again."""
    client = ScalingClient(local)
    fleet.gate.clear()
    await client.set_replicas(3)
    pool = await pool_that(client, lambda pool: pool.changing)
    assert (pool.current, pool.desired) == (2, 3)
    fleet.gate.set()
    await pool_that(client, lambda pool: pool.current == 3)


@pytest.mark.parametrize(
    ("method", "message", "code", "reason", "metadata"),
    [
        (
            "SetReplicas",
            SetReplicasRequest(replicas=6),
            "INVALID_ARGUMENT",
            "REPLICAS_OUT_OF_BOUNDS",
            {"field": "replicas", "replicas": "6", "min": "1", "max": "5"},
        ),
        (
            "SetReplicas",
            SetReplicasRequest(),
            "INVALID_ARGUMENT",
            "REPLICAS_OUT_OF_BOUNDS",
            {"field": "replicas", "replicas": "0", "min": "1", "max": "5"},
        ),
        (
            "SetReplicas",
            SetReplicasRequest(pool="trainers", replicas=2),
            "NOT_FOUND",
            "POOL_NOT_FOUND",
            {"pool": "trainers"},
        ),
        ("SetAuto", SetAutoRequest(pool="x"), "NOT_FOUND", "POOL_NOT_FOUND", {"pool": "x"}),
        ("ListDecisions", ListDecisionsRequest(pool="x"), "NOT_FOUND", "POOL_NOT_FOUND", {"pool": "x"}),
        (
            "ListDecisions",
            ListDecisionsRequest(limit=201),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            {"field": "limit"},
        ),
        (
            "ListDecisions",
            ListDecisionsRequest(limit=-1),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
            {"field": "limit"},
        ),
    ],
)
async def test_each_reason_has_its_code(
    local: grpc.aio.Channel,
    fleet: FakeFleet,
    method: str,
    message: Any,
    code: str,
    reason: str,
    metadata: dict[str, str],
) -> None:
    """Code, reason and metadata of the contract; nothing was changed."""
    got, info = await refusal(getattr(ScalingServiceStub(local), method)(message))
    assert (got, info.reason) == (code, reason)
    assert dict(info.metadata) == metadata
    (pool,) = await ScalingClient(local).pools()
    assert (pool.desired, pool.mode) == (2, "auto")


async def test_without_the_supervisor_nobody_makes_numbers_up(
    local: grpc.aio.Channel, fleet: FakeFleet
) -> None:
    """What runs is asked, not remembered: UNAVAILABLE while nobody tells."""
    fleet.lost = True
    for method in ("ListPools", "SetReplicas", "SetAuto"):
        code, info = await refusal(getattr(ScalingServiceStub(local), method)(REQUESTS[method]))
        assert (code, info.reason) == ("UNAVAILABLE", "SUPERVISOR_LOST")


async def test_a_number_that_can_not_be_stored_is_refused(
    local: grpc.aio.Channel, settings: Settings, fleet: FakeFleet
) -> None:
    """UNAVAILABLE with a time to come back, and the old number holds."""
    await pool_that(ScalingClient(local), lambda pool: pool.last is not None)
    for file in settings.store.iterdir():
        file.unlink()
    settings.store.rmdir()
    code, info = await refusal(ScalingServiceStub(local).SetReplicas(SetReplicasRequest(replicas=4)))
    assert (code, info.reason) == ("UNAVAILABLE", "STORE_FAILED")
    (pool,) = await ScalingClient(local).pools()
    assert pool.desired == 2


@pytest.mark.parametrize("method", [method.name for method in SERVICE.methods])
async def test_every_method_has_its_scope(
    tcp: grpc.aio.Channel, token: Callable[..., Credentials], method: str
) -> None:
    """Refused without a token and with the wrong scope, served with the right one."""
    right = SCOPES[f"/{SERVICE.full_name}/{method}"]
    call, message = getattr(ScalingServiceStub(tcp), method), REQUESTS[method]
    assert (await refusal(call(message)))[0] == "UNAUTHENTICATED"
    for wrong in {"infer", "observe", "operate"} - {right}:
        assert (await refusal(call(message, metadata=token(wrong))))[0] == "PERMISSION_DENIED"
    await call(message, metadata=token(right))


async def test_the_number_survives_the_process(settings: Settings) -> None:
    """A scaling that begins again holds what the last one said, and makes it real."""
    fleet = FakeFleet(0)
    for desired in (3, 2):
        async with build(settings, fleet=fleet) as _, open_channel(f"unix:{settings.socket}") as channel:
            client = ScalingClient(channel)
            if desired == 3:
                await client.set_replicas(3)
            pool = await pool_that(client, lambda pool: pool.current == 3)
            assert (pool.desired, pool.mode) == (3, "pinned")
    other = replace(settings, policy=replace(settings.policy, replicas=2))
    async with build(other, fleet=fleet) as _, open_channel(f"unix:{settings.socket}") as channel:
        pool = await pool_that(ScalingClient(channel), lambda pool: pool.current == 2)
        assert pool.mode == "auto"


async def test_the_end_does_not_wait_for_replicas(settings: Settings) -> None:
    """A start that takes long is left to the owner: scaling itself ends at once."""
    fleet = FakeFleet(0)
    fleet.gate.clear()
    async with asyncio.timeout(10.0):
        async with build(settings, fleet=fleet) as _, open_channel(f"unix:{settings.socket}") as channel:
            await ScalingClient(channel).set_replicas(2)
            await pool_that(ScalingClient(channel), lambda pool: pool.changing)
