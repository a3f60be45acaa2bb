"""Scaling, put together: the replicas, and the services before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from headrace.guard.client import watching_revocations
from headrace.local.client import SupervisorClient
from headrace.runtime.access import OBSERVE, OPERATE, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.channels import open_channel
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.loops import looping
from headrace.runtime.rpc import Caller, methods_of
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, telemetry
from headrace.scaling import discovery_servicer as discovery
from headrace.scaling import servicer as decisions
from headrace.scaling.core.listing import Listing
from headrace.scaling.deciding import deciding
from headrace.scaling.directory import Directory
from headrace.scaling.discovery_servicer import DiscoveryServicer
from headrace.scaling.errors import CODES
from headrace.scaling.fleet import Fleet
from headrace.scaling.kept import EndpointFile
from headrace.scaling.local_fleet import LocalFleet, follow
from headrace.scaling.metrics import EndpointMetrics
from headrace.scaling.settings import Settings
from headrace.scaling.streams import Streams

LOCAL = Caller("local", frozenset({OBSERVE, OPERATE}))
"""Every peer of the Unix socket: the gateway and the operator of this machine."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running scaling."""

    server: Server
    fleet: LocalFleet
    telemetry: Telemetry


@asynccontextmanager
async def build(
    settings: Settings, *, clock: Clock | None = None, fleet: Fleet | None = None
) -> AsyncIterator[Running]:
    """A serving scaling. Closes in the order: streams, server, loops, what it asks others.

    `fleet` is whose replicas it decides about; without one, the supervisor's.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(telemetry("scaling", settings.telemetry))
        revocations = await stack.enter_async_context(watching_revocations(settings.guard, "scaling", clock))
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(settings.jwks, clock), LOCAL),
            access=Access({**discovery.SCOPES, **decisions.SCOPES}, revocations),
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        metrics = EndpointMetrics(observed.registry)
        file = EndpointFile(settings.endpoints)
        told = await asyncio.to_thread(file.load)
        streams = Streams(told, metrics)
        directory = Directory(Listing(told.endpoints), streams, file, clock, metrics)
        supervisor = SupervisorClient(await stack.enter_async_context(open_channel(settings.supervisor)))
        own = LocalFleet(supervisor, directory)
        await stack.enter_async_context(looping(directory.run(), follow(supervisor, directory, metrics)))
        servicer = await stack.enter_async_context(deciding(settings, fleet or own, observed.registry, clock))
        methods = [
            *methods_of(discovery.SERVICE, DiscoveryServicer(streams, metrics)),
            *methods_of(decisions.SERVICE, servicer),
        ]
        where = ServerSettings(
            settings.listen, settings.socket, settings.max_message_bytes, settings.drain_grace_s
        )
        server = await stack.enter_async_context(serving(methods, boundary, where))
        stack.callback(streams.end)
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await stack.enter_async_context(server.ready())
        yield Running(server, own, observed)
