"""The RPCs: decode, ask the guard, encode."""

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.guard.core.frames import HolderFrame
from headrace.guard.core.limits import Limits
from headrace.guard.errors import field_invalid, stream_invalid
from headrace.guard.guard import Guard
from headrace.guard.revoked import RevokedList
from headrace.guard.v1 import guard_service_pb2, limit_pb2
from headrace.guard.v1.guard_service_pb2 import (
    LeaseRequest,
    LeaseResponse,
    ListBreakersRequest,
    ListBreakersResponse,
    ListLimitsRequest,
    ListLimitsResponse,
    ListRevokedTokensRequest,
    ListRevokedTokensResponse,
    RevokeTokenRequest,
    RevokeTokenResponse,
)
from headrace.guard.wire import breaker_message, guard_message, holder_frame, limits_message
from headrace.runtime.access import OBSERVE, OPERATE
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call

SERVICE = guard_service_pb2.DESCRIPTOR.services_by_name["GuardService"]
MOST_TOKEN_ID_CHARACTERS = 256

SCOPES = {
    # Whoever holds leases spends limits, and tells which models fail: an operator's matter.
    f"/{SERVICE.full_name}/Lease": OPERATE,
    f"/{SERVICE.full_name}/RevokeToken": OPERATE,
    f"/{SERVICE.full_name}/ListLimits": OBSERVE,
    f"/{SERVICE.full_name}/ListBreakers": OBSERVE,
    f"/{SERVICE.full_name}/ListRevokedTokens": OBSERVE,
}


class GuardServicer:
    """headrace.guard.v1.GuardService."""

    def __init__(self, guard: Guard, revoked: RevokedList, clock: Clock) -> None:
        self._guard = guard
        self._revoked = revoked
        self._clock = clock

    async def Lease(self, requests: AsyncIterator[LeaseRequest], call: Call) -> AsyncIterator[LeaseResponse]:
        first = await anext(requests, None)
        if first is None:
            raise stream_invalid("it does not begin with Hello")
        session = self._guard.open(holder_frame(first))
        hearing = asyncio.create_task(self._guard.hear(session, _frames(requests)))
        try:
            while (frame := await session.next()) is not None:
                yield guard_message(frame)
        finally:
            hearing.cancel()
            self._guard.close(session)

    async def ListLimits(self, request: ListLimitsRequest, call: Call) -> ListLimitsResponse:
        rows = [("", self._guard.book.default, 0, 0, 0), *self._guard.limits()]
        return ListLimitsResponse(limits=[_limits_row(*row) for row in rows])

    async def ListBreakers(self, request: ListBreakersRequest, call: Call) -> ListBreakersResponse:
        return ListBreakersResponse(breakers=map(breaker_message, self._guard.breakers()))

    async def RevokeToken(self, request: RevokeTokenRequest, call: Call) -> RevokeTokenResponse:
        if not 1 <= len(request.token_id) <= MOST_TOKEN_ID_CHARACTERS:
            raise field_invalid("token_id", f"must have 1 to {MOST_TOKEN_ID_CHARACTERS} characters")
        if request.expire_time.seconds * 10**9 <= self._clock.time_ns():
            raise field_invalid("expire_time", "must be in the future: an expired token is refused anyway")
        expires_s = await self._revoked.add(request.token_id, request.expire_time.seconds)
        return RevokeTokenResponse(token=_revoked_message(request.token_id, expires_s))

    async def ListRevokedTokens(
        self, request: ListRevokedTokensRequest, call: Call
    ) -> ListRevokedTokensResponse:
        return ListRevokedTokensResponse(tokens=[_revoked_message(*token) for token in self._revoked.tokens])


async def _frames(requests: AsyncIterator[LeaseRequest]) -> AsyncIterator[HolderFrame]:
    async for request in requests:
        yield holder_frame(request)


def _limits_row(
    tenant: str, limits: Limits, available: int, slots: int, holders: int
) -> limit_pb2.TenantLimits:
    return limit_pb2.TenantLimits(
        tenant=tenant,
        limits=limits_message(limits),
        available=available,
        slots_leased=slots,
        holders=holders,
    )


def _revoked_message(token_id: str, expires_s: int) -> limit_pb2.RevokedToken:
    return limit_pb2.RevokedToken(token_id=token_id, expire_time=Timestamp(seconds=expires_s))
