"""What the cache's parts work with, played by plain objects: a set clock, a store, a level, a finder."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase

from headrace.cache.client import Found
from headrace.cache.core.entry import Opened
from headrace.cache.core.shelf import Scope
from headrace.cache.flights import Work
from headrace.cache.levels import LevelState, Wanted, Write
from headrace.cache.store import Stored, StoreFailed

SECRET = bytes(range(32))


class SetClock:
    """Clocks that stand where they were set; the wall clock may be moved apart."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.wall_ahead_s = 0.0

    def monotonic(self) -> float:
        """The second that was set."""
        return self.now

    def time_ns(self) -> int:
        """The same in nanoseconds, and what the wall clock is ahead."""
        return int((self.now + self.wall_ahead_s) * 1e9)


class FakeStore:
    """A Store in a dict. `problem` makes every call fail; `stalled` lets none come back until it is cleared."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.lives: dict[str, int] = {}
        self.problem = ""
        self.calls = 0
        self.going = asyncio.Event()
        self.going.set()

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        await self._reached()
        return [self.entries.get(name) for name in names]

    async def set(self, entries: Sequence[Stored]) -> None:
        await self._reached()
        for name, sealed, life_ms in entries:
            self.entries[name], self.lives[name] = sealed, life_ms

    async def remove(self, pattern: str) -> int:
        await self._reached()
        found = [name for name in self.entries if fnmatchcase(name, pattern)]
        for name in found:
            del self.entries[name]
        return len(found)

    async def count(self) -> int:
        await self._reached()
        return len(self.entries)

    async def ping(self) -> None:
        await self._reached()

    async def close(self) -> None:
        self.entries.clear()

    async def _reached(self) -> None:
        self.calls += 1
        await self.going.wait()
        if self.problem:
            raise StoreFailed(self.problem)


class FakeBehind:
    """A level behind memory that keeps what it is told; `problem` makes it fail to forget."""

    def __init__(self) -> None:
        self.opened: Opened | None = None
        self.writes: list[Write] = []
        self.scopes: list[Scope] = []
        self.problem = ""
        self.within_s: float | None = None
        self.wanted: list[Wanted] = []
        self.while_asked: Callable[[], Awaitable[object]] | None = None

    async def get(self, wanted: Sequence[Wanted], within_s: float) -> list[Opened | None]:
        self.within_s, self.wanted = within_s, list(wanted)
        if self.while_asked is not None:
            await self.while_asked()
        return [self.opened] * len(wanted)

    def put(self, write: Write) -> None:
        self.writes.append(write)

    async def forget(self, scope: Scope) -> int:
        self.scopes.append(scope)
        if self.problem:
            raise StoreFailed(self.problem)
        return 1

    async def count(self) -> int:
        return 7

    def state(self) -> LevelState | None:
        return None


class FakeAnswers:
    """Answers in a dict, as a cache that is always there."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def near(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    async def find(self, key: bytes, tenant: str, model: str, compute: Work[tuple[bytes, object]]) -> Found:
        value, made = await compute()
        self.kept[key] = value
        return Found(value, "miss", made=made)
