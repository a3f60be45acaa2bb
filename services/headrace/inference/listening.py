"""Where a replica is reached: its gRPC server, and the hot ingress that the gateway uses."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace.inference.flights import FlightRecorder
from headrace.inference.settings import InferenceSettings
from headrace.runtime.access import Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock
from headrace.runtime.errors import CodeTable
from headrace.runtime.ingress.ingress import HotIngress
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.rpc import Method
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Listening:
    """What both ways in have in common: who may, how errors are told, who hears of a call's end."""

    settings: InferenceSettings
    access: Access
    codes: CodeTable
    observed: Telemetry
    clock: Clock
    flights: FlightRecorder

    @asynccontextmanager
    async def grpc(self, methods: Sequence[Method]) -> AsyncIterator[Server]:
        """The gRPC server, on TCP and on its socket; raises ListenError."""
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(self.settings.jwks, self.clock)),
            access=self.access,
            codes=self.codes,
            telemetry=self.observed,
            clock=self.clock,
            ends=self.flights,
        )
        where = ServerSettings(
            self.settings.listen,
            self.settings.grpc_socket,
            self.settings.max_message_bytes,
            self.settings.drain_grace_s,
        )
        async with serving(methods, boundary, where) as server:
            yield server

    @asynccontextmanager
    async def hot(self, methods: Sequence[Method]) -> AsyncIterator[Callable[[bool], None]]:
        """The hot ingress, if it is wanted; gives what tells its health. Raises ListenError."""
        if self.settings.hot_socket is None:
            yield lambda _: None
            return
        ingress = HotIngress(
            methods,
            access=self.access,
            codes=self.codes,
            telemetry=self.observed,
            clock=self.clock,
            limits=IngressLimits(
                max_message_bytes=self.settings.max_message_bytes,
                budget_bytes=self.settings.max_buffered_bytes,
            ),
            ends=self.flights,
        )
        await ingress.listen(self.settings.hot_socket)
        try:
            yield ingress.tell
        finally:
            ingress.drain()
            await ingress.close(self.settings.drain_grace_s)
