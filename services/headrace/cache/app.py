"""The cache, put together: memory, the store behind it with its loops, who watches, and the service before them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from headrace.cache import servicer
from headrace.cache.core.entry import Names, Seal
from headrace.cache.core.shelf import Shelf
from headrace.cache.errors import CODES
from headrace.cache.invalidation import Invalidations
from headrace.cache.keyfile import read_password, read_secret
from headrace.cache.levels import Behind, Levels, Nothing
from headrace.cache.metrics import ServiceCollector
from headrace.cache.redis_level import RedisLevel
from headrace.cache.servicer import CacheServicer
from headrace.cache.settings import Settings
from headrace.cache.store import RedisStore
from headrace.cache.watchers import Watchers
from headrace.guard.client import watching_revocations
from headrace.runtime.access import OBSERVE, OPERATE, Access, TokenVerifier
from headrace.runtime.boundary import Boundary, TokenIdentity
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.lifecycle import metrics_endpoint
from headrace.runtime.loops import looping
from headrace.runtime.rpc import Caller, methods_of
from headrace.runtime.server import Server, ServerSettings, serving
from headrace.runtime.telemetry import Telemetry, telemetry

LOCAL = Caller("local", frozenset({OBSERVE, OPERATE}))
"""Every peer of the Unix socket: the replicas and the operator of this machine."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A running cache."""

    server: Server
    levels: Levels
    telemetry: Telemetry


@asynccontextmanager
async def build(settings: Settings, *, clock: Clock | None = None) -> AsyncIterator[Cache]:
    """A serving cache. Closes in the order: who watches, server, the store; what was not written to it is dropped.

    Raises SettingsError for a file that can't be read. A store that can't be
    used is no reason not to start: memory serves.
    """
    clock = clock or SystemClock()
    secret = read_secret(settings.key_file, "HEADRACE_CACHE_KEY_FILE")
    async with AsyncExitStack() as stack:
        observed = await stack.enter_async_context(telemetry("cache", settings.telemetry))
        revocations = await stack.enter_async_context(watching_revocations(settings.guard, "cache", clock))
        behind = await stack.enter_async_context(_behind(settings, secret, clock))
        levels = Levels(
            Shelf(settings.max_entries, settings.max_bytes),
            behind,
            clock,
            ttl_s=settings.ttl_s,
            max_value_bytes=settings.max_value_bytes,
        )
        watchers = Watchers()
        ServiceCollector(levels.states, lambda: len(watchers), observed.registry)
        handlers = CacheServicer(
            levels, Invalidations(levels, watchers), watchers, clock, heartbeat_s=settings.heartbeat_s
        )
        boundary = Boundary(
            identity=TokenIdentity(TokenVerifier(settings.jwks), LOCAL),
            access=Access(servicer.SCOPES, revocations),
            codes=CODES,
            telemetry=observed,
            clock=clock,
        )
        where = ServerSettings(settings.listen, settings.socket, grace_s=settings.drain_grace_s)
        server = await stack.enter_async_context(
            serving(methods_of(servicer.SERVICE, handlers), boundary, where)
        )
        stack.callback(watchers.end)
        await stack.enter_async_context(metrics_endpoint(settings.metrics_listen, observed.registry))
        await stack.enter_async_context(server.ready())
        yield Cache(server, levels, observed)


@asynccontextmanager
async def _behind(settings: Settings, secret: bytes, clock: Clock) -> AsyncIterator[Behind]:
    """The store, tried once before anything is served, so that a wrong password is told at the start."""
    if not settings.redis:
        yield Nothing()
        return
    password = read_password(settings.redis_password_file, "HEADRACE_CACHE_REDIS_PASSWORD_FILE")
    store = RedisStore(settings.redis, password)
    seal = Seal(secret, int(settings.ttl_s * 1000))
    level = RedisLevel(store, seal, Names(secret), clock, budget_s=settings.redis_budget_ms / 1000)
    try:
        await level.probe()
        async with looping(level.write(), level.watch()):
            yield level
    finally:
        await store.close()
