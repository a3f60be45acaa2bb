"""The guard, put together: what it kept, its leases and breakers, and the service before them."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from headrace.guard import servicer
from headrace.guard.core.breakers import Breakers
from headrace.guard.core.leases import Leases
from headrace.guard.errors import CODES
from headrace.guard.guard import Guard
from headrace.guard.metrics import BreakerCollector, GuardMetrics
from headrace.guard.revoked import RevokedList
from headrace.guard.servicer import GuardServicer
from headrace.guard.settings import Settings
from headrace.guard.store import Store
from headrace.runtime.access import OBSERVE, OPERATE, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.loops import looping
from headrace.runtime.revocation import RevokedTokens
from headrace.runtime.rpc import Caller, methods_of
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, telemetry

LOCAL = Caller("local", frozenset({OBSERVE, OPERATE}))
"""Every peer of the Unix socket: the replicas and the operator of this machine."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Running:
    """A running guard."""

    server: Server
    guard: Guard
    telemetry: Telemetry


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Running]:
    """A serving guard. Closes in the order: lease streams, server, loops.

    Raises SettingsError for a store that can't be read.
    """
    clock = clock or SystemClock()
    store = Store(settings.store)
    tokens, expected = await asyncio.to_thread(store.open)
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(telemetry("guard", settings.telemetry))
        keeping = HolderKeeping(store)
        guard = Guard(
            Leases(settings.limits, settings.lease_ttl_s, clock.monotonic(), expected),
            Breakers(settings.limits.breaker, settings.probe_s),
            clock,
            GuardMetrics(observed.registry),
            incarnation=uuid.uuid4().hex,
            holders_changed=keeping.note,
        )
        BreakerCollector(guard.breakers, observed.registry)
        known = RevokedTokens(clock)

        def tell(token_ids: tuple[str, ...]) -> None:
            known.replace(token_ids)
            guard.revoke(token_ids)

        revoked = RevokedList(store, tokens, clock, tell)
        tell(revoked.ids)
        await stack.enter_async_context(looping(guard.beat(), guard.rounds(), keeping.run()))
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(settings.jwks, clock), LOCAL),
            access=Access(servicer.SCOPES, known),
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        methods = methods_of(servicer.SERVICE, GuardServicer(guard, revoked, clock))
        where = ServerSettings(
            settings.listen, settings.socket, settings.max_message_bytes, settings.drain_grace_s
        )
        server = await stack.enter_async_context(serving(methods, boundary, where))
        stack.callback(guard.end)
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await stack.enter_async_context(server.ready())
        yield Running(server, guard, observed)


class HolderKeeping:
    """Writes down who holds leases, beside the loop that grants them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holders: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def note(self, holders: Iterable[str]) -> None:
        """These hold leases now."""
        now = frozenset(holders)
        if now != self._holders:
            self._holders = now
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await asyncio.to_thread(self._store.save_holders, self._holders)
            except OSError as error:
                log.warning("the holders could not be written down", error=error.strerror)
