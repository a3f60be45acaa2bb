"""What neighbours import: cached answers in a replica, the keys for them, and the cache's other calls.

It talks to the service by its public contract only, and works without it: then
every look-up is a miss.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from opentelemetry.trace import INVALID_SPAN, Span

from headrace.cache.calls import CacheClient, LevelStatistics
from headrace.cache.core.keys import AnswerKeys, Prefix
from headrace.cache.core.shelf import Kept
from headrace.cache.decorator import cached
from headrace.cache.flights import Flights
from headrace.cache.keyfile import read_secret
from headrace.cache.metrics import ClientCollector
from headrace.cache.near import NearCache, follow
from headrace.cache.remote import Level, Metadata, Remote
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from headrace.runtime.channels import open_channel
from headrace.runtime.clock import Clock
from headrace.runtime.loops import looping
from headrace.runtime.telemetry import Telemetry

__all__ = [
    "AnswerKeys",
    "Answers",
    "CacheClient",
    "CachedAnswers",
    "Found",
    "LevelStatistics",
    "Prefix",
    "Uncached",
    "cached",
    "caching",
    "read_secret",
]

MIB = 1 << 20
Compute = Callable[[], Awaitable[tuple[bytes, object]]]
"""Works the answer out: its bytes, and whatever the caller wants to have back beside them."""


@dataclass(frozen=True, slots=True)
class Found:
    """An answer: its bytes, where they were, and whether another request's work gave them.

    `made` is what `compute` returned beside the bytes, for exactly one of those
    who got them: the first caller, or the next one when that left before the end.
    """

    value: bytes
    level: Level
    coalesced: bool = False
    made: object | None = None


class Answers(Protocol):
    """Where answers are looked for before they are computed."""

    def near(self, key: bytes) -> bytes | None: ...

    def flying(self, key: bytes) -> bool: ...

    async def find(
        self,
        key: bytes,
        tenant: str,
        model: str,
        compute: Compute,
        *,
        deadline: float | None = None,
        span: Span = INVALID_SPAN,
        ask: bool = True,
    ) -> Found: ...


class CachedAnswers:
    """Near-cache, cache service, single flight: in this order before any work."""

    def __init__(
        self, near: NearCache, remote: Remote, clock: Clock, *, ttl_s: float, max_value_bytes: int
    ) -> None:
        self._near = near
        self._remote = remote
        self._clock = clock
        self._flights: Flights[Found] = Flights(clock)
        self._ttl_s = ttl_s
        self._max_value_bytes = max_value_bytes
        self.found = {"memory": 0, "redis": 0, "miss": 0, "coalesced": 0}

    def near(self, key: bytes) -> bytes | None:
        """The answer if this process has it: microseconds, no waiting.

        None also while the service's invalidations aren't heard.
        """
        return self._near.get(key)

    def flying(self, key: bytes) -> bool:
        """Whether the answer is being looked for or worked out: `find` would share it."""
        return self._flights.flying(key)

    async def find(
        self,
        key: bytes,
        tenant: str,
        model: str,
        compute: Compute,
        *,
        deadline: float | None = None,
        span: Span = INVALID_SPAN,
        ask: bool = True,
    ) -> Found:
        """The service's answer within its budget, else what `compute` gives, once for all who ask now.

        Each caller leaves at its own `deadline` (monotonic; DEADLINE_EXCEEDED) or
        cancellation; the work is cancelled when nobody waits. What `compute`
        raises goes to all who wait, and is not kept. `tenant` and `model` must be
        those of the key. The look-up is a child of `span`; there is none unless `ask`.
        """
        found, first = await self._flights.share(
            key,
            lambda: self._worked_out(key, tenant, model, compute, deadline, span if ask else None),
            deadline,
        )
        if first or found.level != "miss":
            self.found[found.level] += 1
            return found
        self.found["coalesced"] += 1
        return Found(found.value, "miss", coalesced=True)

    async def _worked_out(
        self, key: bytes, tenant: str, model: str, compute: Compute, deadline: float | None, span: Span | None
    ) -> Found:
        epoch = self._near.epoch
        fetched = None if span is None else await self._remote.get(key, tenant, model, deadline, span)
        if fetched is not None:
            self._keep_near(key, tenant, model, fetched.value, fetched.time_to_live_s, epoch)
            return Found(fetched.value, fetched.level)
        value, made = await compute()
        if len(value) <= self._max_value_bytes and epoch == self._near.epoch:
            self._keep_near(key, tenant, model, value, self._ttl_s, epoch)
            self._remote.put(key, tenant, model, value, self._ttl_s)
        return Found(value, "miss", made=made)

    def _keep_near(self, key: bytes, tenant: str, model: str, value: bytes, ttl_s: float, epoch: int) -> None:
        self._near.put(key, Kept(value, tenant, model, self._clock.monotonic() + ttl_s), epoch)


class Uncached:
    """Answers where there is no cache: each is computed."""

    def near(self, key: bytes) -> bytes | None:  # noqa: ARG002  # as in Answers
        """None."""
        return None

    def flying(self, key: bytes) -> bool:  # noqa: ARG002
        """Never."""
        return False

    async def find(
        self,
        key: bytes,  # noqa: ARG002
        tenant: str,  # noqa: ARG002
        model: str,  # noqa: ARG002
        compute: Compute,
        *,
        deadline: float | None = None,  # noqa: ARG002
        span: Span = INVALID_SPAN,  # noqa: ARG002
        ask: bool = True,  # noqa: ARG002
    ) -> Found:
        """What `compute` gives; nothing is shared."""
        value, made = await compute()
        return Found(value, "miss", made=made)


@asynccontextmanager
async def caching(
    target: str,
    clock: Clock,
    telemetry: Telemetry,
    *,
    near_entries: int = 1000,
    near_bytes: int = 64 * MIB,
    ttl_s: float = 3600.0,
    max_value_bytes: int = 4 * MIB,
    budget_s: float = 0.005,
    credentials: Metadata = (),
) -> AsyncIterator[CachedAnswers]:
    """Answers cached at the service at `target`, which need not be there yet.

    An answer is kept for `ttl_s` seconds on every level, one above
    `max_value_bytes` not at all. A look-up at the service takes `budget_s` at
    the most. On exit what was not written yet is dropped.
    """
    async with open_channel(target) as channel:
        stub = CacheServiceStub(channel)
        near = NearCache(near_entries, near_bytes, clock)
        remote = Remote(stub, clock, telemetry.tracer, credentials, budget_s=budget_s)
        answers = CachedAnswers(near, remote, clock, ttl_s=ttl_s, max_value_bytes=max_value_bytes)
        ClientCollector(near, remote, answers.found, telemetry.registry)
        async with looping(follow(near, stub, credentials), remote.write()):
            try:
                yield answers
            finally:
                await remote.close()
