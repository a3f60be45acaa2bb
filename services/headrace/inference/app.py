"""Puts a replica together, and takes it apart in the reverse order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from headrace.inference import rest_servicer, servicer
from headrace.inference.errors import CODES
from headrace.inference.models import Loader, serving_models
from headrace.inference.rest_servicer import RestServicer
from headrace.inference.service import InferenceService
from headrace.inference.servicer import InferenceServicer
from headrace.inference.settings import InferenceSettings
from headrace.runtime.access import Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.ingress.ingress import HotIngress
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.rpc import Method, methods_of
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, telemetry


@asynccontextmanager
async def build(settings: InferenceSettings, *, clock: Clock | None = None) -> AsyncIterator[Server]:
    """A replica that serves; it is ready when this has been entered."""
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(
            telemetry("inference", settings.telemetry, settings.replica)
        )
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        loader = Loader(settings.repository, settings.models)
        models = await stack.enter_async_context(
            serving_models(loader, settings.instances, observed, clock, settings.replica)
        )
        service = InferenceService(models, clock, settings.replica)
        methods = [
            *methods_of(servicer.SERVICE, InferenceServicer(models, service)),
            *methods_of(rest_servicer.SERVICE, RestServicer(models, service)),
        ]
        access = Access({**servicer.SCOPES, **rest_servicer.SCOPES})
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(settings.jwks, clock)),
            access=access,
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        server = await stack.enter_async_context(
            serving(
                methods,
                boundary,
                ServerSettings(
                    settings.listen,
                    settings.grpc_socket,
                    settings.max_message_bytes,
                    settings.drain_grace_s,
                ),
            )
        )
        await stack.enter_async_context(_hot_ingress(settings, methods, access, observed, clock))
        await server.tell(ready=True)
        yield server


@asynccontextmanager
async def _hot_ingress(
    settings: InferenceSettings,
    methods: list[Method],
    access: Access,
    observed: Telemetry,
    clock: Clock,
) -> AsyncIterator[None]:
    if settings.hot_socket is None:
        yield
        return
    ingress = HotIngress(
        methods,
        access=access,
        codes=CODES,
        telemetry=observed,
        clock=clock,
        limits=IngressLimits(
            max_message_bytes=settings.max_message_bytes,
            budget_bytes=settings.max_buffered_bytes,
        ),
    )
    await ingress.listen(settings.hot_socket)
    try:
        yield
    finally:
        ingress.drain()
        await ingress.close(settings.drain_grace_s)
