"""The cache's RPCs over its public contract: what they answer, whom, and what they refuse."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.cache.app import build
from headrace.cache.client import CacheClient
from headrace.cache.errors import CODES, invalidation_incomplete, too_many_watchers
from headrace.cache.servicer import SCOPES
from headrace.cache.settings import Settings
from headrace.cache.v1 import cache_pb2, cache_service_pb2
from headrace.cache.v1.cache_service_pb2 import (
    BatchGetRequest,
    BatchPutRequest,
    GetRequest,
    InvalidateRequest,
    PutRequest,
    WatchRequest,
    WatchResponse,
)
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from headrace.cache.v1.error_reason_pb2 import ErrorReason
from headrace.runtime.channels import open_channel
from headrace.runtime.errors import rejection
from tests.contract.cache.conftest import Credentials

KEY = bytes(range(32))


def put(value: bytes = b"answer", **fields: object) -> PutRequest:
    return PutRequest(**{"key": KEY, "tenant": "acme", "model": "linear", "value": value, **fields})  # type: ignore[arg-type]


def get(**fields: object) -> GetRequest:
    return GetRequest(**{"key": KEY, "tenant": "acme", "model": "linear", **fields})  # type: ignore[arg-type]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    trailers = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata()))
    info = ErrorInfo()
    Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    return info.reason


@pytest.mark.parametrize("value", [b"", b"answer", bytes(100_000)])
async def test_what_was_put_is_got(channel: grpc.aio.Channel, value: bytes) -> None:
    """With its level and what is left of its life; before, and under any other name, there is none."""
    stub = CacheServiceStub(channel)
    assert (await stub.Get(get())).level == cache_pb2.LEVEL_UNSPECIFIED
    await stub.Put(put(value, time_to_live=Duration(seconds=60)))
    found = await stub.Get(get())
    assert (found.level, found.value) == (cache_pb2.LEVEL_MEMORY, value)
    assert 50 < found.time_to_live.seconds <= 60
    for other in (get(tenant="globex"), get(model="minilm"), get(key=bytes(32))):
        assert (await stub.Get(other)).level == cache_pb2.LEVEL_UNSPECIFIED


async def test_several_are_put_and_got_at_once(channel: grpc.aio.Channel) -> None:
    """Each as by itself, in the order asked for; a miss among them is a miss of its own."""
    stub = CacheServiceStub(channel)
    other = bytes(31) + b"x"
    await stub.BatchPut(BatchPutRequest(requests=[put(b"one"), put(b"", key=other)]))
    wanted = [get(key=other), get(tenant="globex"), get()]
    answer = await stub.BatchGet(BatchGetRequest(requests=wanted))
    hit, miss = cache_pb2.LEVEL_MEMORY, cache_pb2.LEVEL_UNSPECIFIED
    assert [(one.level, one.value) for one in answer.responses] == [(hit, b""), (miss, b""), (hit, b"one")]


async def test_one_bad_answer_keeps_all_of_a_call_out(channel: grpc.aio.Channel) -> None:
    """Nothing is half done: the good one beside it is not kept either."""
    stub = CacheServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.BatchPut(BatchPutRequest(requests=[put(), put(key=b"x")]))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await stub.Get(get())).level == cache_pb2.LEVEL_UNSPECIFIED


async def test_many_large_answers_are_not_sent_in_one(channel: grpc.aio.Channel) -> None:
    """What exceeds 16 MiB together is a miss, and answered when asked for by itself."""
    stub = CacheServiceStub(channel)
    keys = [bytes(31) + bytes([number]) for number in range(5)]
    for key in keys:
        await stub.Put(put(bytes(4 << 20), key=key))
    answer = await stub.BatchGet(BatchGetRequest(requests=[get(key=key) for key in keys]))
    assert [bool(one.level) for one in answer.responses] == [True] * 4 + [False]
    assert (await stub.Get(get(key=keys[4]))).level == cache_pb2.LEVEL_MEMORY


async def test_a_longer_life_is_cut_to_the_services(channel: grpc.aio.Channel) -> None:
    """Unset it is the service's too."""
    stub = CacheServiceStub(channel)
    for request in (put(), put(time_to_live=Duration(seconds=10**6))):
        await stub.Put(request)
        assert 3590 < (await stub.Get(get())).time_to_live.seconds <= 3600


async def test_a_value_above_the_bound_is_not_kept(channel: grpc.aio.Channel) -> None:
    """Which is no error."""
    stub = CacheServiceStub(channel)
    await stub.Put(put(bytes((4 << 20) + 1)))
    assert (await stub.Get(get())).level == cache_pb2.LEVEL_UNSPECIFIED


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (get(key=b""), "key"),
        (get(key=bytes(31)), "key"),
        (get(key=bytes(33)), "key"),
        (get(tenant=""), "tenant"),
        (get(tenant="é" * 129), "tenant"),
        (get(model=""), "model"),
        (put(key=b"x"), "key"),
        (BatchGetRequest(), "requests"),
        (BatchGetRequest(requests=[get()] * 257), "requests"),
        (BatchGetRequest(requests=[get(), get(key=b"")]), "key"),
        (BatchPutRequest(), "requests"),
        (BatchPutRequest(requests=[put()] * 257), "requests"),
        (put(time_to_live=Duration()), "time_to_live"),
        (put(time_to_live=Duration(seconds=-1)), "time_to_live"),
        (InvalidateRequest(), "invalidation"),
        (InvalidateRequest(invalidation=cache_pb2.Invalidation(key=b"x")), "invalidation.key"),
    ],
)
async def test_a_bad_field_is_named(channel: grpc.aio.Channel, request_: Message, field: str) -> None:
    """INVALID_ARGUMENT, FIELD_INVALID; nothing is kept or forgotten."""
    method = getattr(CacheServiceStub(channel), type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await method(request_)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "FIELD_INVALID"
    assert (raised.value.details() or "").startswith(f"{field}: ")


async def test_what_is_invalidated_is_gone(channel: grpc.aio.Channel) -> None:
    """By tenant here; the answer counts what was removed."""
    stub, client = CacheServiceStub(channel), CacheClient(channel)
    await stub.Put(put())
    await stub.Put(put(key=bytes(32), tenant="globex"))
    assert await client.invalidate(tenant="globex") == 1
    assert (await stub.Get(get(key=bytes(32), tenant="globex"))).level == cache_pb2.LEVEL_UNSPECIFIED
    assert (await stub.Get(get())).level == cache_pb2.LEVEL_MEMORY


async def word(call: "grpc.aio.UnaryStreamCall[WatchRequest, WatchResponse]") -> WatchResponse:
    """The stream's next message, soon."""
    async with asyncio.timeout(5):
        message = await call.read()
    assert isinstance(message, WatchResponse)
    return message


async def test_who_watches_is_told(channel: grpc.aio.Channel) -> None:
    """A first word at once, heartbeats in time, and what is to be forgotten."""
    stub = CacheServiceStub(channel)
    call = stub.Watch(WatchRequest())
    first = await word(call)
    assert (list(first.invalidations), first.heartbeat.ToMilliseconds()) == ([], 100)
    assert not (await word(call)).invalidations
    await CacheClient(channel).invalidate(tenant="acme", model="linear")
    named = cache_pb2.Invalidation(tenant="acme", model="linear")
    while not (told := await word(call)).invalidations:
        pass
    assert list(told.invalidations) == [named]
    call.cancel()


async def test_the_statistics_tell_each_level(channel: grpc.aio.Channel) -> None:
    """Memory alone here; counts since the process began."""
    stub = CacheServiceStub(channel)
    await stub.Get(get())
    await stub.Put(put())
    await stub.Get(get())
    (memory,) = await CacheClient(channel).statistics()
    assert (memory.level, memory.entries, memory.hits, memory.misses) == ("memory", 1, 1, 1)
    assert (memory.breaker, memory.problem) == ("", "")
    assert memory.held_bytes > len(b"answer")


def test_every_reason_has_its_code() -> None:
    """The table has each reason of the contract, and each error of ours is in it."""
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118  # an enum wrapper
    assert {reason for _, reason in CODES} == reasons
    for error, code in (
        (invalidation_incomplete("away"), grpc.StatusCode.UNAVAILABLE),
        (too_many_watchers(1000), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ):
        assert rejection(error, CODES).code == code.value[0]
        assert error.retry_after_s


@pytest.mark.parametrize("path", sorted(SCOPES))
@pytest.mark.parametrize("scope", ["", "infer", "observe", "operate", None])
async def test_over_tcp_each_method_needs_its_scope(
    tcp: grpc.aio.Channel, token: Callable[[str], Credentials], path: str, scope: str | None
) -> None:
    """No token (None) is UNAUTHENTICATED, another scope PERMISSION_DENIED; an observer reads no answers."""
    credentials = () if scope is None else token(scope)
    code = await code_of(tcp, path, credentials)
    if scope is None:
        assert code is grpc.StatusCode.UNAUTHENTICATED
    elif scope == SCOPES[path]:
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
    else:
        assert code is grpc.StatusCode.PERMISSION_DENIED
    assert (SCOPES[path] == "observe") == path.endswith("/GetStatistics")


async def code_of(channel: grpc.aio.Channel, path: str, credentials: Credentials) -> grpc.StatusCode:
    """What the method answers to an empty request; OK for a stream's first word."""
    method = getattr(CacheServiceStub(channel), path.rsplit("/", 1)[1])
    request = getattr(cache_service_pb2, path.rsplit("/", 1)[1] + "Request")()
    try:
        call = method(request, metadata=credentials)
        await (call.read() if path.endswith("/Watch") else call)
    except grpc.aio.AioRpcError as error:
        return error.code()
    call.cancel()
    return grpc.StatusCode.OK


async def test_a_watched_cache_stops_at_once(memory_only: Settings) -> None:
    """Streams end when it drains: it waits for calls, and these would never end."""
    async with open_channel(f"unix:{memory_only.socket}") as channel:
        async with build(replace(memory_only, drain_grace_s=30.0)):
            call = CacheServiceStub(channel).Watch(WatchRequest())
            await call.read()
            began = time.monotonic()
        assert time.monotonic() - began < 5
        while isinstance(await call.read(), WatchResponse):
            pass
