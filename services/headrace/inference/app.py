"""Puts a replica together, and takes it apart in the reverse order."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from headrace.cache.client import AnswerKeys, caching, read_secret
from headrace.guard.client import CODES as GUARD_CODES
from headrace.guard.client import LeaseHolder, Unlimited, holding_leases
from headrace.inference import (
    explain_servicer,
    flight_servicer,
    open_ai_servicer,
    orca_servicer,
    rest_control_servicer,
    rest_servicer,
    servicer,
)
from headrace.inference.agreement import agreeing
from headrace.inference.answers import Answers
from headrace.inference.assembly import Surroundings
from headrace.inference.batching_metrics import BatchingMetrics
from headrace.inference.commands import Changes, Commands
from headrace.inference.errors import CODES as OWN_CODES
from headrace.inference.explain_servicer import ExplainServicer
from headrace.inference.flight_servicer import FlightRecorderServicer
from headrace.inference.flights import FlightRecorder
from headrace.inference.listening import Listening
from headrace.inference.load import LoadMeter, metering_load
from headrace.inference.machine import Machine
from headrace.inference.models import Models
from headrace.inference.observation import LogSettings, TraceSettings
from headrace.inference.open_ai_servicer import OpenAiServicer
from headrace.inference.orca_servicer import OrcaServicer
from headrace.inference.readiness import Readiness
from headrace.inference.rest_control_servicer import RestControlServicer
from headrace.inference.rest_servicer import RestServicer
from headrace.inference.service import InferenceService
from headrace.inference.servicer import InferenceServicer
from headrace.inference.serving import serving_models
from headrace.inference.settings import InferenceSettings
from headrace.inference.sharing import sharing
from headrace.inference.slots import seated
from headrace.inference.streams import Streams
from headrace.inference.triton_metrics import TritonMetrics
from headrace.metering.client import CODES as METERING_CODES
from headrace.metering.client import Unmetered, UsageLog, metering_usage
from headrace.runtime.access import Access
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.logs import switched_logs
from headrace.runtime.loops import looping
from headrace.runtime.rpc import methods_of
from headrace.runtime.server import Server
from headrace.runtime.telemetry import Telemetry, telemetry

CODES = {**OWN_CODES, **GUARD_CODES, **METERING_CODES}
SCOPES = {
    **servicer.SCOPES,
    **rest_servicer.SCOPES,
    **rest_control_servicer.SCOPES,
    **open_ai_servicer.SCOPES,
    **orca_servicer.SCOPES,
    **explain_servicer.SCOPES,
    **flight_servicer.SCOPES,
}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The services around a replica; each is a stand-in where none is configured."""

    admission: LeaseHolder | Unlimited
    usage: UsageLog | Unmetered
    answers: Answers


@asynccontextmanager
async def build(settings: InferenceSettings, *, clock: Clock | None = None) -> AsyncIterator[Server]:
    """A replica that serves; it is ready when this has been entered.

    Waits for no other service: requests that come before those are there are
    admitted by a local share, not cached and kept in the outbox.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(
            telemetry("inference", settings.telemetry, settings.replica)
        )
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        around = await _neighbours(settings, stack, observed, clock)
        # Looking at flights, and at the load four times a second, must not push flights out.
        untold = frozenset({*flight_servicer.SCOPES, *orca_servicer.SCOPES})
        flights = FlightRecorder(settings.flights, clock, untold)
        models, commands = await _models(settings, stack, observed, around, clock, flights)
        observed.registry.register(TritonMetrics(models))
        observed.registry.register(BatchingMetrics(models))
        load = await stack.enter_async_context(metering_load(models, Machine(), clock))
        inner = _service(settings, models, around, load, observed, clock)
        shared = stack.enter_context(sharing(settings, inner, models))
        service = shared.service
        streams = Streams(service, CODES, clock, flights)
        orca = OrcaServicer(load)
        rpcs = InferenceServicer(
            models, service, commands, streams, shared.memory, (*servicer.EXTENSIONS, *shared.extensions)
        )
        hot = [
            *methods_of(servicer.SERVICE, rpcs),
            *methods_of(rest_servicer.SERVICE, RestServicer(models, service, rpcs)),
            *methods_of(rest_control_servicer.SERVICE, RestControlServicer(models, commands, rpcs)),
            *methods_of(open_ai_servicer.SERVICE, OpenAiServicer(models, service, clock)),
        ]
        methods = [
            *hot,
            *methods_of(orca_servicer.SERVICE, orca),
            *methods_of(explain_servicer.SERVICE, ExplainServicer(models, clock, settings.replica)),
            *methods_of(flight_servicer.SERVICE, FlightRecorderServicer(flights, settings.replica)),
        ]
        access = Access(SCOPES, around.admission.revocations)
        listening = Listening(settings, access, CODES, observed, clock, flights)
        server = await stack.enter_async_context(listening.grpc(methods))
        tell_hot = await stack.enter_async_context(listening.hot(hot))
        readiness = Readiness(models, server, tell_hot, observed.registry, clock)
        await stack.enter_async_context(looping(readiness.follow()))
        stack.callback(orca.end)
        stack.callback(streams.end)
        await stack.enter_async_context(server.ready())
        yield server


def _service(
    settings: InferenceSettings,
    models: Models,
    around: Neighbours,
    load: LoadMeter,
    observed: Telemetry,
    clock: Clock,
) -> InferenceService:
    return InferenceService(
        models,
        around.answers,
        around.admission,
        around.usage,
        load,
        observed.tracer,
        clock,
        settings.replica,
    )


async def _models(
    settings: InferenceSettings,
    stack: AsyncExitStack,
    observed: Telemetry,
    around: Neighbours,
    clock: Clock,
    flights: FlightRecorder,
) -> tuple[Models, Commands]:
    """The models that serve, and what changes them on all replicas."""
    slotted = stack.enter_context(seated(settings.slots))
    surroundings = Surroundings(
        settings.instances,
        observed,
        around.usage,
        flights,
        clock,
        settings.replica,
        settings.weights,
        slotted,
    )
    control = await stack.enter_async_context(
        serving_models(settings.repository, settings.models, surroundings)
    )
    changes = Changes(control, LogSettings(stack.enter_context(switched_logs())), TraceSettings(observed))
    agreement = await stack.enter_async_context(
        agreeing(settings.repository.shared, settings.replica, changes.apply, clock)
    )
    commands = Commands(settings.repository.mode, changes, agreement)
    stack.push_async_callback(commands.close)
    return control.models, commands


async def _neighbours(
    settings: InferenceSettings, stack: AsyncExitStack, observed: Telemetry, clock: Clock
) -> Neighbours:
    admission: LeaseHolder | Unlimited = Unlimited()
    if settings.guard:
        admission = await stack.enter_async_context(
            holding_leases(
                settings.guard,
                settings.replica,
                uuid.uuid4().hex,
                clock,
                observed,
                sync_timeout_s=settings.sync_timeout_ms / 1000,
                revocation_staleness_s=settings.revocation_staleness_s,
            )
        )
    usage: UsageLog | Unmetered = Unmetered()
    if settings.metering:
        usage = await stack.enter_async_context(
            metering_usage(
                settings.metering,
                settings.outbox,
                settings.replica,
                observed,
                max_events=settings.outbox_events,
                sync=settings.outbox_sync,
            )
        )
    answers = Answers(None, None)
    if settings.cache:
        cached = await stack.enter_async_context(
            caching(
                settings.cache,
                clock,
                observed,
                near_entries=settings.near_entries,
                near_bytes=settings.near_bytes,
                ttl_s=settings.cache_ttl_s,
            )
        )
        keys = AnswerKeys(read_secret(settings.cache_key, "HEADRACE_INFERENCE_CACHE_KEY_FILE"))
        answers = Answers(cached, keys, settings.cache_ttl_s, observed.tracer)
    return Neighbours(admission, usage, answers)
