"""A stream whose token is revoked while it is open ends, whichever transport carries it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.runtime.access import INFER, Access
from headrace.runtime.boundary import Boundary
from headrace.runtime.clock import SystemClock
from headrace.runtime.held import CHECK_S
from headrace.runtime.revocation import RevokedTokens
from headrace.runtime.rpc import Call, Caller, Method
from headrace.runtime.server import ServerSettings, serving
from headrace.runtime.telemetry import quiet
from tests.unit.runtime.ingress.wire import IDENTITY, STREAM, echo, request
from tests.unit.runtime.ingress.wire import serving as ingress_serving

BOTH, GATHER = "/test.Streams/Both", "/test.Streams/Gather"
SOON_S = 10 * CHECK_S


class Named:
    """Everybody says by which token he comes."""

    def caller(self, peer: str, headers: Any) -> Caller:
        return Caller("acme", frozenset({INFER}), dict(headers)["token"])


async def both(
    requests: AsyncIterator[pb.ModelInferRequest], _call: Call
) -> AsyncIterator[pb.ModelInferResponse]:
    """Answers each request, and waits for the next."""
    async for asked in requests:
        yield pb.ModelInferResponse(id=asked.id)


async def gather(requests: AsyncIterator[pb.ModelInferRequest], _call: Call) -> pb.ModelInferResponse:
    """Answers the last of them."""
    last = pb.ModelInferRequest()
    async for asked in requests:
        last = asked
    return pb.ModelInferResponse(id=last.id)


@pytest.fixture
def tokens() -> RevokedTokens:
    """No token is revoked."""
    found = RevokedTokens(SystemClock())
    found.replace([])
    return found


@pytest.fixture
async def channel(tokens: RevokedTokens) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of both kinds of stream."""
    telemetry, _ = quiet()
    boundary = Boundary(
        identity=Named(),
        access=Access({BOTH: INFER, GATHER: INFER}, tokens),
        codes={},
        telemetry=telemetry,
        clock=SystemClock(),
    )
    methods = [
        Method(BOTH, pb.ModelInferRequest, both, client_streaming=True, server_streaming=True),
        Method(GATHER, pb.ModelInferRequest, gather, client_streaming=True),
    ]
    async with (
        serving(methods, boundary, ServerSettings("127.0.0.1:0", grace_s=0.5)) as server,
        grpc.aio.insecure_channel(server.address) as opened,
    ):
        yield opened


def reason(error: grpc.aio.AioRpcError) -> str:
    pairs: Any = error.trailing_metadata()  # the stubs say objects
    trailing = dict(pairs)
    info = ErrorInfo()
    assert Status.FromString(trailing["grpc-status-details-bin"]).details[0].Unpack(info)
    return info.reason


async def ended(answer: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """The error that comes instead of the answer."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await asyncio.wait_for(answer, SOON_S)
    return error.value


async def test_an_open_stream_ends_when_its_token_is_revoked(
    channel: grpc.aio.Channel, tokens: RevokedTokens
) -> None:
    """TOKEN_REVOKED while it waits for its client; another token's stream goes on."""
    stub: Any = channel.stream_stream(
        BOTH, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    mine, other = (stub(metadata=(("token", name),)) for name in ("mine", "other"))
    for call in (mine, other):
        await call.write(pb.ModelInferRequest(id="1"))
        answer = await call.read()
        assert answer.id == "1"
    tokens.replace(["mine"])
    error = await ended(mine.read())
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
    await other.write(pb.ModelInferRequest(id="2"))
    answer = await other.read()
    assert answer.id == "2"
    other.cancel()


async def test_a_stream_of_requests_ends_too(channel: grpc.aio.Channel, tokens: RevokedTokens) -> None:
    """Though nothing was to be answered yet."""
    stub: Any = channel.stream_unary(
        GATHER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    call = stub(metadata=(("token", "mine"),))
    await call.write(pb.ModelInferRequest(id="1"))
    tokens.replace(["mine"])
    error = await ended(call)
    assert reason(error) == "TOKEN_REVOKED"


async def test_the_hot_ingress_ends_its_streams(tmp_path: Path, tokens: RevokedTokens) -> None:
    """In the trailers, behind what was answered."""

    async def stream(_: pb.ModelInferRequest, __: Call) -> AsyncIterator[pb.ModelInferResponse]:
        yield pb.ModelInferResponse(id="1")
        tokens.replace(["mine"])
        await asyncio.Event().wait()

    async with ingress_serving(tmp_path, echo, stream, revocations=tokens) as bench:
        client = await bench.client()
        identity = IDENTITY + "x-headrace-token-id: mine\r\n"
        client.send(request(path=STREAM, identity=identity))
        reply = await asyncio.wait_for(client.reply(), SOON_S)
        assert [one.id for one in reply.messages] == ["1"]
        assert reply.trailers["grpc-status"] == "16"
