"""Metering, put together: the ledger, its thread, who answers about it, the edge's figures, and the services before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from headrace.guard.client import watching_revocations
from headrace.metering.costs import answering
from headrace.metering.edge import edge_log
from headrace.metering.edge_servicer import AccessLogServicer, LogsServicer
from headrace.metering.envoy.service.accesslog.v3 import als_pb2
from headrace.metering.errors import CODES
from headrace.metering.ledger import Ledger
from headrace.metering.metrics import EdgeMetrics, MeteringMetrics
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
ACCESS_LOG = als_pb2.DESCRIPTOR.services_by_name["AccessLogService"]
LOGS = logs_service_pb2.DESCRIPTOR.services_by_name["LogsService"]

SCOPES = {
    # Whoever may record may bill: an operator's matter.
    f"/{SERVICE.full_name}/Record": OPERATE,
    f"/{SERVICE.full_name}/QueryCost": OBSERVE,
    f"/{SERVICE.full_name}/GetPriceBook": OBSERVE,
    f"/{SERVICE.full_name}/GetEdgeSummary": OBSERVE,
    # Whoever may write it may hide what it differs from.
    f"/{ACCESS_LOG.full_name}/StreamAccessLogs": OPERATE,
    f"/{LOGS.full_name}/Export": OPERATE,
}
LOCAL = Caller("local", frozenset({OPERATE}))
"""Every peer of the Unix socket: it may record and log, which is all that OPERATE allows here, not ask."""


@dataclass(frozen=True, slots=True)
class Metering:
    """A running metering."""

    server: Server
    telemetry: Telemetry


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Metering]:
    """A serving metering. Closes in the order: server, the edge's figures, what waits to be recorded, ledger."""
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
        edge_metrics = EdgeMetrics(observed.registry)
        edge = await stack.enter_async_context(
            edge_log(settings.edge, costs, edge_metrics, clock, window_s=settings.edge_window_s)
        )
        servicer = MeteringServicer(writer, costs, edge, ledger.books, clock)
        access_log = AccessLogServicer(edge)
        methods = [
            *methods_of(SERVICE, servicer),
            *methods_of(ACCESS_LOG, access_log),
            *methods_of(LOGS, LogsServicer(edge)),
        ]
        where = ServerSettings(
            settings.listen, settings.socket, settings.max_message_bytes, settings.drain_grace_s
        )
        server = await stack.enter_async_context(serving(methods, boundary, where))
        stack.callback(servicer.drain)
        stack.callback(access_log.drain)
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await stack.enter_async_context(server.ready())
        yield Metering(server, observed)


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
