"""Redis or Valkey as a store of bytes: plain MGET and SET, each failure as one error with words for an operator."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

SLOW = "the store does not answer in time"

CONNECTIONS = 16
SCANNED_AT_ONCE = 1000


class StoreFailed(Exception):
    """The store did not do what it was asked; the text is what an operator reads."""


class Stored(NamedTuple):
    """Bytes for the store: their name, and how long they live there."""

    name: str
    sealed: bytes
    life_ms: int


class Store(Protocol):
    """Bytes by name, each with its life. Every method raises StoreFailed."""

    async def get(self, names: Sequence[str]) -> list[bytes | None]: ...

    async def set(self, entries: Sequence[Stored]) -> None: ...

    async def remove(self, pattern: str) -> int:
        """Removes what the glob matches; tells how many that were."""

    async def count(self) -> int: ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


class RedisStore:
    """A Store behind a `redis://`, `rediss://` or `unix://` URL that names the user.

    Connects when first used. It never tries again by itself: its caller has a
    budget. A caller that is cancelled leaves no half-read answer behind, since
    its connection is closed.
    """

    def __init__(self, url: str, password: str, *, connect_s: float = 1.0, answer_s: float = 1.0) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            password=password or None,
            max_connections=CONNECTIONS,
            timeout=answer_s,
            socket_timeout=answer_s,
            socket_connect_timeout=connect_s,
            retry=Retry(NoBackoff(), 0),
            # AUTH and nothing else at the start of a connection: the user may do no more.
            protocol=2,
            driver_info=None,
        )
        self._redis = Redis.from_pool(pool)

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        try:
            found = await self._redis.mget(names)
        except (RedisError, OSError) as error:
            raise failed(error) from None
        return [stored if isinstance(stored, bytes) else None for stored in found]

    async def set(self, entries: Sequence[Stored]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for name, sealed, life_ms in entries:
            pipeline.set(name, sealed, px=life_ms)
        try:
            await pipeline.execute()
        except (RedisError, OSError) as error:
            raise failed(error) from None

    async def remove(self, pattern: str) -> int:
        removed, cursor = 0, -1
        try:
            while cursor:
                cursor, names = await self._redis.scan(max(cursor, 0), match=pattern, count=SCANNED_AT_ONCE)
                removed += await self._redis.unlink(*names) if names else 0
        except (RedisError, OSError) as error:
            raise failed(error) from None
        return removed

    async def count(self) -> int:
        try:
            return int(await self._redis.dbsize())
        except (RedisError, OSError) as error:
            raise failed(error) from None

    async def ping(self) -> None:
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise failed(error) from None

    async def close(self) -> None:
        await self._redis.aclose()


_WORDS: tuple[tuple[type[Exception], str], ...] = (
    # Before the classes that they are kinds of.
    (NoPermissionError, "the user may not do what the cache does: its commands or keys are not allowed"),
    (AuthenticationError, "the store refuses the user or the password"),
    (AuthorizationError, "the store refuses the user or the password"),
    (OutOfMemoryError, "the store is full, and set not to make room"),
    (ReadOnlyError, "the store is a read-only replica"),
    (BusyLoadingError, "the store is loading its data"),
    (redis.exceptions.TimeoutError, SLOW),
    (TimeoutError, SLOW),
)


def failed(error: Exception) -> StoreFailed:
    """The error in words; never with what a server or a URL says in its own."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return StoreFailed(words)
    if isinstance(error, ResponseError):
        # BUSY, MASTERDOWN, CLUSTERDOWN and the like begin with their name.
        name = str(error).split(" ", 1)[0]
        return StoreFailed(f"the store refuses: {name if name.isupper() and name.isalpha() else 'ERR'}")
    return StoreFailed("the store is out of reach")
