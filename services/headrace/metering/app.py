"""Metering, put together: the ledger, its thread, who answers about it, and the service before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from headrace.guard.client import watching_revocations
from headrace.metering.costs import answering
from headrace.metering.errors import CODES
from headrace.metering.ledger import Ledger
from headrace.metering.metrics import MeteringMetrics
from headrace.metering.servicer import MeteringServicer
from headrace.metering.settings import Settings
from headrace.metering.v1 import metering_service_pb2
from headrace.metering.writer import LedgerWriter
from headrace.runtime.access import OBSERVE, OPERATE, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.rpc import Caller, methods_of
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, telemetry

SERVICE = metering_service_pb2.DESCRIPTOR.services_by_name["MeteringService"]

SCOPES = {
    # Whoever may record may bill: an operator's matter.
    f"/{SERVICE.full_name}/Record": OPERATE,
    f"/{SERVICE.full_name}/QueryCost": OBSERVE,
    f"/{SERVICE.full_name}/GetPriceBook": OBSERVE,
}
LOCAL = Caller("local", frozenset({OPERATE}))
"""Every peer of the Unix socket: it may record, which is all that OPERATE allows here, not ask."""


@dataclass(frozen=True, slots=True)
class Metering:
    """A running metering."""

    server: Server
    telemetry: Telemetry


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Metering]:
    """A serving metering. Closes in the order: server, what waits to be recorded, ledger."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(telemetry("metering", settings.telemetry))
        revocations = await stack.enter_async_context(watching_revocations(settings.guard, "metering", clock))
        metrics = MeteringMetrics(observed.registry)
        ledger = await stack.enter_async_context(_ledger(settings))
        writer = await stack.enter_async_context(_writing(ledger, metrics, clock))
        costs = await stack.enter_async_context(answering(settings.ledger, ledger.books.currency, clock))
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(settings.jwks), LOCAL),
            access=Access(SCOPES, revocations),
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        servicer = MeteringServicer(writer, costs, ledger.books, clock)
        methods = methods_of(SERVICE, servicer)
        where = ServerSettings(
            settings.listen, settings.socket, settings.max_message_bytes, settings.drain_grace_s
        )
        server = await stack.enter_async_context(serving(methods, boundary, where))
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await server.tell(ready=True)
        try:
            yield Metering(server, observed)
        finally:
            servicer.drain()


@asynccontextmanager
async def _ledger(settings: Settings) -> AsyncIterator[Ledger]:
    ledger = await asyncio.to_thread(Ledger, settings.ledger, settings.prices.all)
    try:
        yield ledger
    finally:
        await asyncio.to_thread(ledger.close)


@asynccontextmanager
async def _writing(ledger: Ledger, metrics: MeteringMetrics, clock: Clock) -> AsyncIterator[LedgerWriter]:
    """The ledger's thread; on exit what waits is recorded first."""
    writer = LedgerWriter(ledger, metrics, clock)
    writer.start()
    try:
        yield writer
    finally:
        await asyncio.to_thread(writer.close)
