"""What neighbours import: admission by leases, what is revoked, and the guard's unary calls.

It talks to the guard by its public contract only, and works without one: see
`LeaseHolder`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.guard.core.book import LeaseBook
from headrace.guard.core.breaker import State
from headrace.guard.core.frames import KnownBreaker
from headrace.guard.core.limits import DEFAULT_BOOK, BreakerRule, LimitBook, Limits
from headrace.guard.core.limits import Code as Outcome
from headrace.guard.core.permit import Permit
from headrace.guard.errors import CODES, DOMAIN
from headrace.guard.holder import SYNC_TIMEOUT_S, LeaseHolder
from headrace.guard.holder_metrics import HolderCollector
from headrace.guard.listeners import LeaseListener, RevocationListener
from headrace.guard.stream import LeaseStream, Listener
from headrace.guard.unlimited import Unlimited
from headrace.guard.v1.guard_service_pb2 import (
    ListBreakersRequest,
    ListLimitsRequest,
    ListRevokedTokensRequest,
    RevokeTokenRequest,
)
from headrace.guard.v1.guard_service_pb2_grpc import GuardServiceStub
from headrace.guard.v1.limit_pb2 import TenantLimits
from headrace.guard.wire import breaker_of, limits_of
from headrace.runtime.channels import open_channel
from headrace.runtime.clock import Clock
from headrace.runtime.loops import looping
from headrace.runtime.revocation import NO_REVOCATIONS, STALENESS_S, Revocations, RevokedTokens
from headrace.runtime.telemetry import Telemetry

__all__ = [
    "CODES",
    "DOMAIN",
    "BreakerRule",
    "GuardClient",
    "KnownBreaker",
    "LeaseHolder",
    "LimitBook",
    "Limits",
    "LimitsInUse",
    "Outcome",
    "Permit",
    "State",
    "Unlimited",
    "holding_leases",
    "watching_revocations",
]

TICK_S = 0.1
"""How often a holder tells what it used and asks for what comes: two frames each time, half a millisecond of both."""


@asynccontextmanager
async def holding_leases(
    target: str,
    holder: str,
    incarnation: str,
    clock: Clock,
    telemetry: Telemetry,
    *,
    limits: LimitBook = DEFAULT_BOOK,
    sync_timeout_s: float = SYNC_TIMEOUT_S,
    revocation_staleness_s: float = STALENESS_S,
) -> AsyncIterator[LeaseHolder]:
    """A holder of leases of the guard at `target`; never waits for the guard to be there.

    `holder` is the process's name, unique among those that live at the same
    time; `incarnation` tells its processes apart. `limits` hold until the guard
    has told its own. On exit what is unused is given back.
    """
    revoked = RevokedTokens(clock, revocation_staleness_s)
    book = LeaseBook(limits)
    leases = LeaseHolder(book, revoked, clock, asyncio.get_running_loop(), sync_timeout_s=sync_timeout_s)
    telemetry.registry.register(HolderCollector(book))
    async with open_channel(target) as channel:
        listener = LeaseListener(book, revoked, clock, holder, incarnation)
        stream = LeaseStream(channel, listener, target)
        book.wake = stream.wake
        async with looping(stream.run(), _ticking(book, clock)):
            try:
                yield leases
            finally:
                book.close()
                await stream.close()


async def _ticking(book: LeaseBook, clock: Clock) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        book.tick(clock.monotonic())


@asynccontextmanager
async def watching_revocations(
    target: str, name: str, clock: Clock, *, revocation_staleness_s: float = STALENESS_S
) -> AsyncIterator[Revocations]:
    """What the guard at `target` has revoked, for a process that admits nothing.

    An empty target: there is no guard, and nothing is ever revoked.
    """
    if not target:
        yield NO_REVOCATIONS
        return
    revoked = RevokedTokens(clock, revocation_staleness_s)
    listener: Listener = RevocationListener(revoked, name, uuid.uuid4().hex)
    async with open_channel(target) as channel, looping(LeaseStream(channel, listener, target).run()):
        yield revoked


@dataclass(frozen=True, slots=True)
class LimitsInUse:
    """A tenant's limits and how much of them is in use; the tenant is empty in the defaults' entry."""

    tenant: str
    limits: Limits
    available: int
    slots_leased: int
    holders: int


class GuardClient:
    """One guard behind a channel that its caller opened and closes.

    `credentials` is the call metadata that carries the caller's token (see
    `runtime.channels.bearer`): scope `observe` to read, `operate` to revoke.
    Every method raises `grpc.aio.AioRpcError`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        credentials: tuple[tuple[str, str], ...] = (),
        *,
        deadline_s: float = 5.0,
    ) -> None:
        self._stub = GuardServiceStub(channel)
        self._credentials = credentials
        self._deadline_s = deadline_s

    async def limits(self) -> list[LimitsInUse]:
        """The defaults first, then each tenant that has limits of its own or is active."""
        answer = await self._stub.ListLimits(
            ListLimitsRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return list(map(_in_use, answer.limits))

    async def breakers(self) -> list[KnownBreaker]:
        """The breakers of models that failed of late; all others are closed."""
        answer = await self._stub.ListBreakers(
            ListBreakersRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return list(map(breaker_of, answer.breakers))

    async def revoke(self, token_id: str, expires_s: int) -> None:
        """Has the token with this `jti` refused everywhere until it expires, in seconds since 1970."""
        await self._stub.RevokeToken(
            RevokeTokenRequest(token_id=token_id, expire_time=Timestamp(seconds=expires_s)),
            timeout=self._deadline_s,
            metadata=self._credentials,
        )

    async def revoked(self) -> list[tuple[str, int]]:
        """The revoked tokens that have not expired: each one's `jti`, and when it expires, in seconds since 1970."""
        answer = await self._stub.ListRevokedTokens(
            ListRevokedTokensRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return [(token.token_id, token.expire_time.seconds) for token in answer.tokens]


def _in_use(message: TenantLimits) -> LimitsInUse:
    return LimitsInUse(
        message.tenant,
        limits_of(message.limits),
        message.available,
        message.slots_leased,
        message.holders,
    )
