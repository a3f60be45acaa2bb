"""Scaling, put together: the replicas, and the services before them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from headrace.guard.client import watching_revocations
from headrace.runtime.access import OBSERVE, OPERATE, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.rpc import Caller, Method
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, telemetry
from headrace.scaling.errors import CODES
from headrace.scaling.settings import Settings

LOCAL = Caller("local", frozenset({OBSERVE, OPERATE}))
"""Every peer of the Unix socket: the gateway and the operator of this machine."""

SCOPES: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Running:
    """A running scaling."""

    server: Server
    telemetry: Telemetry


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Running]:
    """A serving scaling. Closes in the order: server, what it asks others."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(telemetry("scaling", settings.telemetry))
        revocations = await stack.enter_async_context(watching_revocations(settings.guard, "scaling", clock))
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(settings.jwks, clock), LOCAL),
            access=Access(SCOPES, revocations),
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        methods: list[Method] = []
        where = ServerSettings(
            settings.listen, settings.socket, settings.max_message_bytes, settings.drain_grace_s
        )
        server = await stack.enter_async_context(serving(methods, boundary, where))
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await server.tell(ready=True)
        yield Running(server, observed)
