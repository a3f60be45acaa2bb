"""Insight, put together: the store, its thread, the receivers beside it, and the two services before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from headrace.guard.client import watching_revocations
from headrace.insight.absent import NoFigures, NoPage
from headrace.insight.collector import Collector
from headrace.insight.core.keep import KeepRate
from headrace.insight.errors import CODES
from headrace.insight.forward import forwarding
from headrace.insight.ingest import Ingest
from headrace.insight.metrics import InsightMetrics
from headrace.insight.nostore import NoStore
from headrace.insight.page import Page
from headrace.insight.servicer import Figures, InsightServicer, Links, Traces, TraceServicer
from headrace.insight.settings import Settings
from headrace.insight.store import Bounds, SqliteStore
from headrace.insight.v1 import insight_service_pb2
from headrace.insight.webserver import serving_page
from headrace.runtime.access import OBSERVE, OPERATE, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.loops import looping
from headrace.runtime.rpc import Caller, methods_of
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, TelemetrySettings, telemetry

TRACE_SERVICE = trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"]
INSIGHT_SERVICE = insight_service_pb2.DESCRIPTOR.services_by_name["InsightService"]

SCOPES = {
    # Whoever may write traces may write false ones: an operator's matter.
    f"/{TRACE_SERVICE.full_name}/Export": OPERATE,
    f"/{INSIGHT_SERVICE.full_name}/GetTrace": OBSERVE,
    f"/{INSIGHT_SERVICE.full_name}/ListTraces": OBSERVE,
    # How the mesh does names no tenant. `readers` keeps from whom what all of them pay.
    f"/{INSIGHT_SERVICE.full_name}/GetOverview": OBSERVE,
    # Lets in whom the token would let in anyway.
    f"/{INSIGHT_SERVICE.full_name}/CreateWebLink": OBSERVE,
}
LOCAL = Caller("local", frozenset({OPERATE}))
"""Every peer of the Unix socket: it may export, which is all that OPERATE allows here, not read."""

SILENT = TelemetrySettings(otlp=(), sample_ratio=0.0)
"""Insight makes no spans: a span for each Export would be exported in turn, for ever."""


@dataclass(frozen=True, slots=True)
class Insight:
    """A running insight."""

    server: Server
    ingest: Traces
    links: Links
    telemetry: Telemetry


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Insight]:
    """A serving insight. Closes in the order: server, what waits to be stored, store, what waits to be forwarded."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(telemetry("insight", SILENT))
        revocations = await stack.enter_async_context(watching_revocations(settings.guard, "insight", clock))
        metrics = InsightMetrics(observed.registry)
        fanout = await stack.enter_async_context(
            forwarding(settings.forward, metrics, queue_bytes=settings.forward_queue_bytes)
        )
        traces = await stack.enter_async_context(_traces(settings, metrics, clock))
        figures = await stack.enter_async_context(_collecting(settings, clock))
        verifier, access = TokenVerifier(settings.jwks), Access(SCOPES, revocations)
        page = await stack.enter_async_context(
            _showing(settings.web_listen, Page(traces, figures, verifier, access, clock))
        )
        boundary = Boundary(
            identity=TokenIdentity(verifier, LOCAL),
            access=access,
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        methods = [
            *methods_of(TRACE_SERVICE, TraceServicer(traces, fanout)),
            *methods_of(INSIGHT_SERVICE, InsightServicer(traces, figures, page)),
        ]
        where = ServerSettings(
            settings.listen, settings.socket, settings.max_message_bytes, settings.drain_grace_s
        )
        server = await stack.enter_async_context(serving(methods, boundary, where))
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await stack.enter_async_context(server.ready())
        yield Insight(server, traces, page, observed)


@asynccontextmanager
async def _collecting(settings: Settings, clock: Clock) -> AsyncIterator[Figures]:
    """The figures, kept up to date meanwhile; none where nobody says which processes there are."""
    if settings.targets is None:
        yield NoFigures()
        return
    collector = Collector(
        settings.targets, settings.gateway_admin, clock, interval_s=settings.figures_interval_s
    )
    async with looping(collector.run()):
        yield collector


@asynccontextmanager
async def _showing(listen: str, page: Page) -> AsyncIterator[Links]:
    """The page on its port, if it has one."""
    if not listen:
        yield NoPage()
        return
    async with serving_page(listen, page.answer) as address:
        page.address = address
        yield page


def _traces(settings: Settings, metrics: InsightMetrics, clock: Clock) -> AbstractAsyncContextManager[Traces]:
    return _storing(settings, metrics, clock) if settings.keep else nullcontext(NoStore(metrics))


@asynccontextmanager
async def _storing(settings: Settings, metrics: InsightMetrics, clock: Clock) -> AsyncIterator[Ingest]:
    """The store with its thread; on exit what waits is stored first."""
    bounds = Bounds(settings.store_bytes, settings.trace_spans, settings.trace_bytes)
    store = await asyncio.to_thread(SqliteStore, settings.store, bounds)
    ingest = Ingest(
        store,
        KeepRate(settings.trace_rate, settings.trace_burst),
        metrics,
        clock,
        queue_bytes=settings.queue_bytes,
        retention_s=settings.retention_s,
    )
    ingest.start()
    try:
        yield ingest
    finally:
        await asyncio.to_thread(ingest.close)
        store.close()
