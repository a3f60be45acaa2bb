"""grpc.health.v1 as every service serves it, asked by grpcio's own client."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from headrace.runtime.access import Access
from headrace.runtime.boundary import Boundary
from headrace.runtime.clock import SystemClock
from headrace.runtime.rpc import ANONYMOUS, Call, Caller, Method
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import quiet

GRACE_S = 600.0
"""Longer than any test may take: a stop that waits for it is found."""

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


SERVICE = "test.v1.TestService"


async def nothing(_request: object, _call: Call) -> bytes:
    """A method's handler that nobody asks."""
    return b""


METHODS = [Method(f"/{SERVICE}/Ask", HealthCheckRequest, nothing)]


class Nobody:
    """Everybody is anonymous."""

    def caller(self, peer: str, headers: object) -> Caller:
        return ANONYMOUS


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Server, HealthStub]]:
    """A server of one service, and a client of it."""
    telemetry, _ = quiet()
    boundary = Boundary(
        identity=Nobody(), access=Access({}), codes={}, telemetry=telemetry, clock=SystemClock()
    )
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            serving(METHODS, boundary, ServerSettings("127.0.0.1:0", grace_s=GRACE_S))
        )
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
        yield server, HealthStub(channel)


async def status(stub: HealthStub, name: str = "") -> int:
    """What a Check answers."""
    answer = await stub.Check(HealthCheckRequest(service=name), timeout=10)
    return int(answer.status)


async def test_ready_is_a_block() -> None:
    """Not serving before it, serving inside it, not serving behind it, while calls are still answered."""
    async with served() as (server, stub):
        assert await status(stub) == NOT_SERVING
        async with server.ready():
            assert await status(stub) == SERVING
        assert await status(stub) == NOT_SERVING


async def test_a_name_that_is_not_served() -> None:
    """Check answers NOT_FOUND, Watch tells that the service is unknown and goes on."""
    async with served() as (server, stub), server.ready():
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await status(stub, "nobody")
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(HealthCheckRequest(service="nobody"), timeout=30)
        assert (await watch.read()).status == UNKNOWN
        watch.cancel()


async def test_a_watch_hears_each_change_and_ends() -> None:
    """Who watches hears of the end as the last, and keeps nobody waiting: the stop takes none of its grace."""
    async with served() as (server, stub):
        watch = stub.Watch(HealthCheckRequest(), timeout=60)
        heard = [(await watch.read()).status]
        async with server.ready():
            heard.append((await watch.read()).status)
        heard.append((await watch.read()).status)
        assert await watch.read() == grpc.aio.EOF  # type: ignore[attr-defined]  # the stubs lack it
    assert heard == [NOT_SERVING, SERVING, NOT_SERVING]
    assert await watch.code() is grpc.StatusCode.OK


async def test_a_start_that_failed_ends_watches_too() -> None:
    """A server that never became ready does not wait for who watches."""
    async with served() as (_, stub):
        watch = stub.Watch(HealthCheckRequest(), timeout=60)
        assert (await watch.read()).status == NOT_SERVING


async def test_services_that_can_take_no_work() -> None:
    """What is told of the services is theirs alone: the whole server lives; at the end none serves."""
    async with served() as (server, stub):
        async with server.ready():
            await server.tell_services(ready=False)
            assert await status(stub) == SERVING
            assert await status(stub, SERVICE) == NOT_SERVING
            await server.tell_services(ready=True)
            assert await status(stub, SERVICE) == SERVING
        await server.tell_services(ready=True)
        assert await status(stub, SERVICE) == NOT_SERVING
