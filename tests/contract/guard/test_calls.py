"""The unary calls, who may make which, and the order of a lease stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from headrace.guard.app import Running
from headrace.guard.client import GuardClient, Outcome, State
from headrace.guard.v1.guard_service_pb2 import (
    LeaseRequest,
    ListBreakersRequest,
    ListLimitsRequest,
    ListRevokedTokensRequest,
    RevokeTokenRequest,
)
from headrace.guard.v1.guard_service_pb2_grpc import GuardServiceStub
from headrace.guard.v1.lease_pb2 import Hello
from tests.contract.guard.conftest import Credentials, Join, ended, joined


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's details."""
    trailers = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata()))
    info = ErrorInfo()
    Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    assert info.domain in {"guard.headrace", "runtime.headrace"}
    return str(info.reason)


async def frames(*requests: LeaseRequest) -> AsyncIterator[LeaseRequest]:
    """A holder's side of a stream."""
    for request in requests:
        yield request


async def test_the_limits_are_listed(guard: Running, join: Join, local: grpc.aio.Channel) -> None:
    """The defaults, then each tenant that has its own or is active, with what is in use."""
    async with join("r1") as one:
        await joined(guard, 1)
        permit = await one.ask("acme", "m", None)
        rows = await GuardClient(local).limits()
        assert [row.tenant for row in rows] == ["", "acme", "few", "narrow", "patient", "wide"]
        assert (rows[0].limits.rate, rows[0].limits.burst, rows[0].limits.concurrency) == (1000, 1000, 100)
        acme = rows[1]
        assert (acme.holders, acme.limits) == (1, rows[0].limits)
        assert acme.slots_leased >= 1
        assert 990 <= acme.available <= 1000
        one.release(permit, Outcome.SUCCESS, 0.001)


async def test_the_breakers_are_listed(guard: Running, join: Join, local: grpc.aio.Channel) -> None:
    """Those of models that failed of late: with their state, their row of failures, and the time left."""
    async with join("r1") as one:
        await joined(guard, 1)
        for _ in range(5):
            await ended(one, "wide", "bad", Outcome.FAILURE)
        await ended(one, "wide", "weak", Outcome.FAILURE)
        await ended(one, "wide", "good", Outcome.SUCCESS)
        await one.ask("few", "m", None)  # a round trip: what went before has arrived
        bad, weak = await GuardClient(local).breakers()
        assert (bad.model, bad.state, bad.failures) == ("bad", State.OPEN, 5)
        assert 0.0 < bad.wait_s <= 0.3
        assert (weak.model, weak.state, weak.failures) == ("weak", State.CLOSED, 1)


@pytest.mark.parametrize("seconds", [-1, 0])
async def test_an_expired_token_need_not_be_revoked(local: grpc.aio.Channel, seconds: int) -> None:
    """A time that has passed is most likely a mistake: INVALID_ARGUMENT names the field."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await GuardClient(local).revoke("t", int(time.time()) + seconds)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "FIELD_INVALID"


@pytest.mark.parametrize("token_id", ["", "x" * 257])
async def test_a_token_is_named(local: grpc.aio.Channel, token_id: str) -> None:
    """1 to 256 characters."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await GuardClient(local).revoke(token_id, int(time.time()) + 60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "requests",
    [
        (),
        (LeaseRequest(),),
        (LeaseRequest(hello=Hello(holder="")),),
        (LeaseRequest(hello=Hello(holder="x" * 257)),),
        (LeaseRequest(hello=Hello(holder="r1")), LeaseRequest(hello=Hello(holder="r1"))),
    ],
    ids=["empty", "no hello", "no name", "long name", "twice"],
)
async def test_a_stream_begins_with_hello_once(
    local: grpc.aio.Channel, requests: tuple[LeaseRequest, ...]
) -> None:
    """FAILED_PRECONDITION with STREAM_INVALID otherwise."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in GuardServiceStub(local).Lease(frames(*requests), timeout=5):
            pass
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(raised.value) == "STREAM_INVALID"


async def test_a_newer_stream_replaces_the_older(local: grpc.aio.Channel) -> None:
    """Of two processes of one name, the one that came last holds the leases: the other is told, by ABORTED."""

    async def stay(incarnation: str) -> AsyncIterator[LeaseRequest]:
        yield LeaseRequest(hello=Hello(holder="r1", incarnation=incarnation))
        await asyncio.Event().wait()  # as long as nobody ends it

    stub = GuardServiceStub(local)
    older = stub.Lease(stay("1"), timeout=10)
    assert (await anext(aiter(older))).snapshot.holders == 1
    newer = stub.Lease(stay("2"), timeout=10)
    assert (await anext(aiter(newer))).snapshot.holders == 1
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in older:
            pass
    assert raised.value.code() is grpc.StatusCode.ABORTED
    assert reason_of(raised.value) == "HOLDER_REPLACED"
    newer.cancel()


def lease(stub: GuardServiceStub, by: Credentials) -> Any:
    """A stream with a Hello and no more."""
    requests: Any = frames(LeaseRequest(hello=Hello(holder="r1")))
    return stub.Lease(requests, metadata=by)


Calls = Callable[[GuardServiceStub, Credentials], object]
READS: dict[str, Calls] = {
    "ListLimits": lambda stub, by: stub.ListLimits(ListLimitsRequest(), metadata=by),
    "ListBreakers": lambda stub, by: stub.ListBreakers(ListBreakersRequest(), metadata=by),
    "ListRevokedTokens": lambda stub, by: stub.ListRevokedTokens(ListRevokedTokensRequest(), metadata=by),
}
CHANGES: dict[str, Calls] = {
    "RevokeToken": lambda stub, by: stub.RevokeToken(
        RevokeTokenRequest(token_id="t", expire_time=Timestamp(seconds=4_000_000_000)), metadata=by
    ),
    "Lease": lambda stub, by: anext(aiter(lease(stub, by))),
}


@pytest.mark.parametrize("name", [*READS, *CHANGES])
@pytest.mark.parametrize("scope", ["infer", "observe", "operate", ""])
async def test_each_method_needs_its_scope(
    tcp: grpc.aio.Channel, token: Callable[..., Credentials], name: str, scope: str
) -> None:
    """Reading needs `observe`; holding leases and revoking needs `operate`."""
    call = (READS | CHANGES)[name](GuardServiceStub(tcp), token(scope))
    if scope == ("observe" if name in READS else "operate"):
        await call  # type: ignore[misc]
        return
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call  # type: ignore[misc]
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("name", [*READS, *CHANGES])
async def test_without_a_token_nobody_may_call(tcp: grpc.aio.Channel, name: str) -> None:
    """UNAUTHENTICATED; health is open."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (READS | CHANGES)[name](GuardServiceStub(tcp), ())  # type: ignore[misc]
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    health = await HealthStub(tcp).Check(HealthCheckRequest())
    assert health.status == HealthCheckResponse.SERVING
