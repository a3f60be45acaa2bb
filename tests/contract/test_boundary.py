"""The grpc.aio server's boundary, over the wire."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
import structlog

from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.runtime.access import OPEN, Access
from headrace.runtime.boundary import Boundary
from headrace.runtime.clock import SystemClock
from headrace.runtime.lifecycle import log_as_json
from headrace.runtime.rpc import ANONYMOUS, Call, Caller, methods_of
from headrace.runtime.server import ListenError, ServerSettings, serving
from headrace.runtime.telemetry import quiet

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
SECRET = "a-secret-that-nobody-is-told"


class Nobody:
    """Everybody is anonymous."""

    def caller(self, peer: str, headers: object) -> Caller:
        return ANONYMOUS


class Faulty:
    """Handlers that go wrong in each way."""

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        secret = SECRET
        raise RuntimeError(secret)

    async def ServerReady(self, request: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        raise asyncio.CancelledError

    async def ModelStreamInfer(
        self, request: AsyncIterator[pb.ModelInferRequest], call: Call
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        async for message in request:
            yield pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse(id=message.id))
        raise RuntimeError(SECRET)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server with `Faulty`."""
    methods = methods_of(SERVICE, Faulty())
    telemetry, _ = quiet()
    boundary = Boundary(
        identity=Nobody(),
        access=Access({method.path: OPEN for method in methods}),
        codes={},
        telemetry=telemetry,
        clock=SystemClock(),
    )
    settings = ServerSettings("127.0.0.1:0", grace_s=0.5)
    async with (
        serving(methods, boundary, settings) as server,
        grpc.aio.insecure_channel(server.address) as opened,
    ):
        yield opened


async def failed(channel: grpc.aio.Channel, name: str) -> grpc.aio.AioRpcError:
    call = channel.unary_unary(f"/{SERVICE.full_name}/{name}", None, None)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(b"", timeout=10)
    return error.value


async def test_a_fault_of_ours_is_internal_with_a_fixed_text(channel: grpc.aio.Channel) -> None:
    """Neither the message nor the details have the exception's words."""
    error = await failed(channel, "ServerLive")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in repr(error)
    trailing: dict[str, bytes | str] = dict(cast("Any", error.trailing_metadata()))
    assert SECRET.encode() not in cast("bytes", trailing["grpc-status-details-bin"])


async def test_the_log_has_the_cause_without_anybodys_values(
    channel: grpc.aio.Channel, capfd: pytest.CaptureFixture[str]
) -> None:
    """A traceback names lines; the values of locals (tensors, tokens) stay out of it."""
    log_as_json("test")
    try:
        await failed(channel, "ServerLive")
    finally:
        structlog.reset_defaults()
    logged = capfd.readouterr().err
    assert "test_boundary.py" in logged
    assert f"'{SECRET}'" not in logged
    assert "locals" not in logged


async def test_a_handler_that_cancels_itself_is_answered(channel: grpc.aio.Channel) -> None:
    """Its caller does not wait for its own deadline."""
    assert (await failed(channel, "ServerReady")).code() is grpc.StatusCode.INTERNAL


async def test_a_stream_that_breaks_ends_in_the_same_form(channel: grpc.aio.Channel) -> None:
    """What came before the fault arrives; the fault is INTERNAL."""
    call = channel.stream_stream(f"/{SERVICE.full_name}/ModelStreamInfer", None, None)

    async def requests() -> AsyncIterator[bytes]:
        yield pb.ModelInferRequest(id="a").SerializeToString()

    answers = call(requests(), timeout=10)
    first = pb.ModelStreamInferResponse.FromString(cast("bytes", await answers.read()))
    assert first.infer_response.id == "a"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await answers.read()
    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in repr(error.value)


async def test_a_taken_port_is_told(channel: grpc.aio.Channel) -> None:
    """Two servers never share a port in silence."""
    telemetry, _ = quiet()
    boundary = Boundary(
        identity=Nobody(), access=Access({}), codes={}, telemetry=telemetry, clock=SystemClock()
    )
    async with serving([], boundary, ServerSettings("127.0.0.1:0")) as first:
        with pytest.raises(ListenError, match=first.address):
            async with serving([], boundary, ServerSettings(first.address)):
                pass
