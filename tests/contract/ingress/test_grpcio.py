"""Google's own client sees gRPC, whichever way the hot path goes."""

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, QuotaFailure, RetryInfo

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from headrace.runtime.errors import RUNTIME_CODES, RUNTIME_DOMAIN
from tests.contract.ingress.calls import as_tenant, ask, details, reason, stubs
from tests.contract.ingress.edge import Edge


@pytest.mark.parametrize("action", ["echo", "bytes"])
async def test_a_unary_call(hot: Edge, action: str) -> None:
    """Message, caller, initial and trailing metadata, and binary metadata arrive."""
    async with stubs(hot) as stub:
        call = stub.infer(
            ask("a", action, b"tensor"), metadata=as_tenant("t", ("headrace-test-bin", b"\0\xff"))
        )
        answer = await call
        assert (answer.id, answer.raw_output_contents[0]) == ("a", b"tensor")
        assert answer.parameters["tenant"].string_param == "t"
        assert answer.parameters["binary"].string_param == "00ff"
        assert ("headrace-test-initial", "a") in list(await call.initial_metadata())
        assert ("headrace-test-id", "a") in list(await call.trailing_metadata())
        assert await call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize("count", [0, 1, 1000])
async def test_a_stream(hot: Edge, count: int) -> None:
    """Every message in order, then the trailers."""
    async with stubs(hot) as stub:
        call = stub.stream(ask("a", count=count), metadata=as_tenant())
        assert [answer.model_version async for answer in call] == [str(index) for index in range(count)]
        assert ("headrace-test-id", "a") in list(await call.trailing_metadata())
        assert await call.code() == grpc.StatusCode.OK


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def collect(call: AsyncIterable[ModelInferResponse], answers: list[str]) -> None:
    """Reads a stream to its end, keeping what came before an error."""
    async for answer in call:
        answers.append(answer.id)  # noqa: PERF401  # a comprehension would lose what came before an error


@pytest.mark.parametrize("why", sorted(reason for _, reason in RUNTIME_CODES))
async def test_every_error(hot: Edge, why: str) -> None:
    """Code, message and details of each reason, alone and after messages of a stream."""
    async with stubs(hot) as stub:
        for count in (None, 0, 2):
            request = ask("a", "fails", reason=why, count=count or 0)
            answers: list[str] = []
            if count is None:
                error = await failure(stub.infer(request, metadata=as_tenant()))
            else:
                error = await failure(collect(stub.stream(request, metadata=as_tenant()), answers))
            assert len(answers) == (count or 0)
            assert error.code() == RUNTIME_CODES[RUNTIME_DOMAIN, why]
            if why != "INTERNAL":
                assert error.details() == "100 % wrong: é\r\nno more"
            assert reason(error) == why


async def test_details_are_whole(hot: Edge) -> None:
    """Retry hint, quota and fields arrive as Google's messages."""
    async with stubs(hot) as stub:
        packed = {}
        for why in ("OVERLOADED", "MESSAGE_TOO_LARGE"):
            error = await failure(stub.infer(ask("a", "fails", reason=why), metadata=as_tenant()))
            packed.update({detail.TypeName(): detail for detail in details(error).details})
        retry, quota, fields = RetryInfo(), QuotaFailure(), BadRequest()
        assert packed["google.rpc.RetryInfo"].Unpack(retry)
        assert retry.retry_delay.ToTimedelta().total_seconds() == 2.5
        assert packed["google.rpc.QuotaFailure"].Unpack(quota)
        assert quota.violations[0].subject == "tenant"
        assert packed["google.rpc.BadRequest"].Unpack(fields)
        assert fields.field_violations[0].field == "id"


@pytest.mark.parametrize("action", ["crashes", "splits"])
async def test_a_fault_of_ours_is_internal(hot: Edge, action: str) -> None:
    """And nothing of it reaches the caller."""
    async with stubs(hot) as stub:
        error = await failure(stub.infer(ask("a", action), metadata=as_tenant()))
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in str(error)
        assert "evil" not in str(error)


async def test_an_unknown_method(hot: Edge) -> None:
    """It is UNIMPLEMENTED."""
    async with grpc.aio.insecure_channel(hot.target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/inference.GRPCInferenceService/Nothing", None, None)(
                b"", metadata=as_tenant()
            )
        assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_ends_the_work(hot: Edge) -> None:
    """The caller is told in time, and the handler is cancelled."""
    async with stubs(hot) as stub:
        began = time.monotonic()
        name = f"deadline-{began}"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.infer(ask(name, "sleep", ms=20_000), metadata=as_tenant(), timeout=0.3)
        assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 10
        await hot.cancelled(name)


async def test_a_cancelled_call_ends_the_work(hot: Edge) -> None:
    """A caller that goes away is not worked for."""
    async with stubs(hot) as stub:
        name = f"cancel-{time.monotonic()}"
        call = stub.infer(ask(name, "sleep", ms=20_000), metadata=as_tenant())
        await asyncio.sleep(0.3)
        call.cancel()
        await hot.cancelled(name)


async def test_many_callers_at_once(hot: Edge) -> None:
    """Each of 500 gets its own answer."""
    async with stubs(hot) as stub:

        async def one(index: int) -> None:
            name = f"caller-{index}"
            answer = await stub.infer(ask(name, ms=index % 7, action="sleep"), metadata=as_tenant(name))
            assert (answer.id, answer.parameters["tenant"].string_param) == (name, name)

        await asyncio.gather(*(one(index) for index in range(500)))
