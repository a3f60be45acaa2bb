"""headrace.cache.v1.CacheService: decode, call, encode."""

from collections.abc import AsyncIterator

from google.protobuf.duration_pb2 import Duration

from headrace.cache.core.breaker import State
from headrace.cache.core.keys import KEY_BYTES
from headrace.cache.core.shelf import Scope
from headrace.cache.errors import field_invalid
from headrace.cache.invalidation import Invalidations
from headrace.cache.levels import Hit, Levels, LevelState, Wanted
from headrace.cache.v1 import cache_pb2, cache_service_pb2
from headrace.cache.v1.cache_service_pb2 import (
    BatchGetRequest,
    BatchGetResponse,
    BatchPutRequest,
    BatchPutResponse,
    GetRequest,
    GetResponse,
    GetStatisticsRequest,
    GetStatisticsResponse,
    InvalidateRequest,
    InvalidateResponse,
    PutRequest,
    PutResponse,
    WatchRequest,
    WatchResponse,
)
from headrace.cache.watchers import Watchers
from headrace.runtime.access import OBSERVE, OPERATE
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call

SERVICE = cache_service_pb2.DESCRIPTOR.services_by_name["CacheService"]

SCOPES = {
    f"/{SERVICE.full_name}/{name}": scope
    for name, scope in {
        # Whoever may look up or put reads and writes every tenant's answers.
        "Get": OPERATE,
        "BatchGet": OPERATE,
        "Put": OPERATE,
        "BatchPut": OPERATE,
        "Watch": OPERATE,
        "Invalidate": OPERATE,
        "GetStatistics": OBSERVE,
    }.items()
}

NAME_BYTES = 256
MOST_AT_ONCE = 256
LEVELS = {"memory": cache_pb2.LEVEL_MEMORY, "redis": cache_pb2.LEVEL_REDIS}
BREAKERS = {
    None: cache_pb2.BREAKER_STATE_UNSPECIFIED,
    State.CLOSED: cache_pb2.BREAKER_STATE_CLOSED,
    State.OPEN: cache_pb2.BREAKER_STATE_OPEN,
    State.HALF_OPEN: cache_pb2.BREAKER_STATE_HALF_OPEN,
}


class CacheServicer:
    """The RPCs of the contract."""

    def __init__(
        self,
        levels: Levels,
        invalidations: Invalidations,
        watchers: Watchers,
        clock: Clock,
        *,
        heartbeat_s: float,
    ) -> None:
        self._levels = levels
        self._clock = clock
        self._invalidations = invalidations
        self._watchers = watchers
        self._heartbeat_s = heartbeat_s

    async def Get(self, request: GetRequest, call: Call) -> GetResponse:
        (hit,) = await self._levels.get([_wanted(request)], call.remaining(self._clock.monotonic()))
        call.span.set_attribute("headrace.cache.level", hit.level if hit else "miss")
        return _found(hit)

    async def BatchGet(self, request: BatchGetRequest, call: Call) -> BatchGetResponse:
        _check_count(len(request.requests))
        wanted = [_wanted(one) for one in request.requests]
        hits = await self._levels.get(wanted, call.remaining(self._clock.monotonic()))
        return BatchGetResponse(responses=map(_found, hits))

    async def Put(self, request: PutRequest, call: Call) -> PutResponse:
        self._put(request, _life_s(request))
        return PutResponse()

    async def BatchPut(self, request: BatchPutRequest, call: Call) -> BatchPutResponse:
        _check_count(len(request.requests))
        lives = [_life_s(one) for one in request.requests]  # all are looked at before any is kept
        for one, life_s in zip(request.requests, lives, strict=True):
            self._put(one, life_s)
        return BatchPutResponse()

    async def Watch(self, request: WatchRequest, call: Call) -> AsyncIterator[WatchResponse]:
        heartbeat = _duration(self._heartbeat_s)
        with self._watchers.watching() as watcher:
            scopes: list[Scope] | None = []
            while scopes is not None:
                yield WatchResponse(invalidations=map(_invalidation, scopes), heartbeat=heartbeat)
                scopes = await watcher.next(self._heartbeat_s)

    async def Invalidate(self, request: InvalidateRequest, call: Call) -> InvalidateResponse:
        named = request.invalidation
        if not (named.tenant or named.model or named.key):
            raise field_invalid("invalidation", "must name a tenant, a model or a key")
        if named.key and len(named.key) != KEY_BYTES:
            raise field_invalid("invalidation.key", f"must have {KEY_BYTES} bytes")
        removed = await self._invalidations.forget(Scope(named.tenant, named.model, named.key))
        return InvalidateResponse(removed=removed)

    async def GetStatistics(self, request: GetStatisticsRequest, call: Call) -> GetStatisticsResponse:
        states = await self._levels.counted()
        return GetStatisticsResponse(levels=map(_statistics, states), watchers=len(self._watchers))

    def _put(self, request: PutRequest, life_s: float | None) -> None:
        self._levels.put(request.key, request.tenant, request.model, request.value, life_s)


def _check(request: GetRequest | PutRequest) -> None:
    if len(request.key) != KEY_BYTES:
        raise field_invalid("key", f"must have {KEY_BYTES} bytes, not {len(request.key)}")
    for field, name in (("tenant", request.tenant), ("model", request.model)):
        if not 0 < len(name.encode()) <= NAME_BYTES:
            raise field_invalid(field, f"must have 1 to {NAME_BYTES} bytes")


def _check_count(count: int) -> None:
    if not 0 < count <= MOST_AT_ONCE:
        raise field_invalid("requests", f"must be 1 to {MOST_AT_ONCE}, not {count}")


def _wanted(request: GetRequest) -> Wanted:
    """Raises FIELD_INVALID."""
    _check(request)
    return Wanted(request.key, request.tenant, request.model)


def _found(hit: Hit | None) -> GetResponse:
    if hit is None:
        return GetResponse()
    return GetResponse(level=LEVELS[hit.level], value=hit.value, time_to_live=_duration(hit.life_s))


def _life_s(request: PutRequest) -> float | None:
    """How long the answer may be served, None for the service's own; raises FIELD_INVALID."""
    _check(request)
    if not request.HasField("time_to_live"):
        return None
    life_s = request.time_to_live.ToNanoseconds() / 1e9
    if life_s <= 0:
        raise field_invalid("time_to_live", "must be more than zero, or unset")
    return life_s


def _invalidation(scope: Scope) -> cache_pb2.Invalidation:
    return cache_pb2.Invalidation(tenant=scope.tenant, model=scope.model, key=scope.key)


def _statistics(state: LevelState) -> cache_pb2.LevelStatistics:
    return cache_pb2.LevelStatistics(
        level=LEVELS[state.level],
        entries=state.entries,
        bytes=state.held_bytes,
        hits=state.tally.hits,
        misses=state.tally.misses,
        errors=state.tally.errors,
        rejected=state.tally.rejected,
        evicted=state.evicted,
        breaker_state=BREAKERS[state.breaker],
        problem=state.problem,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(max(1, int(seconds * 1e9)))
    return duration
