"""The cache's calls for an operator: what it holds, and making it forget."""

from dataclasses import dataclass

import grpc

from headrace.cache.v1 import cache_pb2
from headrace.cache.v1.cache_service_pb2 import GetStatisticsRequest, InvalidateRequest
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub

LEVELS = {cache_pb2.LEVEL_MEMORY: "memory", cache_pb2.LEVEL_REDIS: "redis"}
BREAKERS = {
    cache_pb2.BREAKER_STATE_CLOSED: "closed",
    cache_pb2.BREAKER_STATE_OPEN: "open",
    cache_pb2.BREAKER_STATE_HALF_OPEN: "half-open",
}


@dataclass(frozen=True, slots=True)
class LevelStatistics:
    """How a level does: counts since the process began, -1 for what it doesn't tell.

    `breaker` is closed, open or half-open, empty for a level that can't fail;
    `problem` is what keeps it from being used, in words.
    """

    level: str
    entries: int
    held_bytes: int
    hits: int
    misses: int
    errors: int
    rejected: int
    evicted: int
    breaker: str
    problem: str


class CacheClient:
    """One cache behind a channel that its caller opened and closes.

    `credentials` carry the caller's token: `observe` for statistics, `operate`
    to invalidate. Every method raises `grpc.aio.AioRpcError`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        credentials: tuple[tuple[str, str], ...] = (),
        *,
        deadline_s: float = 15.0,
    ) -> None:
        self._stub = CacheServiceStub(channel)
        self._credentials = credentials
        self._deadline_s = deadline_s

    async def statistics(self) -> list[LevelStatistics]:
        """Each level, nearest first."""
        answer = await self._stub.GetStatistics(
            GetStatisticsRequest(), timeout=self._deadline_s, metadata=self._credentials
        )
        return list(map(_statistics, answer.levels))

    async def invalidate(self, *, tenant: str = "", model: str = "", key: bytes = b"") -> int:
        """Forgets what has every part that is given, of which there must be one; tells how many entries."""
        named = cache_pb2.Invalidation(tenant=tenant, model=model, key=key)
        answer = await self._stub.Invalidate(
            InvalidateRequest(invalidation=named), timeout=self._deadline_s, metadata=self._credentials
        )
        return answer.removed


def _statistics(message: cache_pb2.LevelStatistics) -> LevelStatistics:
    return LevelStatistics(
        level=LEVELS.get(message.level, ""),
        entries=message.entries,
        held_bytes=message.bytes,
        hits=message.hits,
        misses=message.misses,
        errors=message.errors,
        rejected=message.rejected,
        evicted=message.evicted,
        breaker=BREAKERS.get(message.breaker_state, ""),
        problem=message.problem,
    )
