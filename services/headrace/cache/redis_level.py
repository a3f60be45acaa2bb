"""The second level: entries in Redis or Valkey, sealed, inside a budget, behind a breaker.

A request never waits for a store that is away: while the breaker is open it is
not asked, and the probe that closes it again is nobody's request.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from math import inf

import structlog

from headrace.cache.core.breaker import Breaker, State
from headrace.cache.core.entry import EntryRefused, Names, Opened, Seal
from headrace.cache.core.shelf import Scope
from headrace.cache.levels import LevelState, Tally, Wanted, Write
from headrace.cache.store import SLOW, Store, Stored, StoreFailed
from headrace.runtime.clock import Clock

log = structlog.get_logger(__name__)

PROBE_S = 0.25
CONNECT_S = 1.0
WRITE_S = 0.25
REMOVE_S = 10.0
WAITING_WRITES = 1024
WAITING_BYTES = 32 << 20
WRITTEN_AT_ONCE = 32
UNFINISHED = 1000
"""Invalidations that may wait for the store to come back; beyond them all its entries are held back."""


class RedisLevel:
    """Entries in a store. Only `forget` raises, StoreFailed."""

    def __init__(
        self,
        store: Store,
        seal: Seal,
        names: Names,
        clock: Clock,
        *,
        budget_s: float = 0.005,
        breaker: Breaker | None = None,
    ) -> None:
        self._store = store
        self._seal = seal
        self._names = names
        self._clock = clock
        self._budget_s = budget_s
        # Not trusted before it has answered once.
        self._breaker = breaker or Breaker(state=State.OPEN)
        self._writes: deque[Write] = deque()
        self._write_bytes = 0
        self._waiting = asyncio.Event()
        self._writing = asyncio.Lock()
        self._unfinished: list[Scope] = []
        self._problem = "the store was not asked yet"
        self.tally = Tally()

    async def get(self, wanted: Sequence[Wanted], within_s: float = inf) -> list[Opened | None]:
        """The entries; None for one that is not there or can't be believed, for all when the store can't be asked.

        Waits for the budget or `within_s`, whichever is less.
        """
        opened: list[Opened | None] = [None] * len(wanted)
        asked = [place for place, one in enumerate(wanted) if not self._held_back(one)]
        if asked and self._breaker.state is State.CLOSED:
            names = [self._names.name(wanted[at].tenant, wanted[at].model, wanted[at].key) for at in asked]
            stored = await self._fetched(names, min(within_s, self._budget_s))
            for place, sealed in zip(asked, stored, strict=True):
                if sealed is not None:
                    opened[place] = self._believed(wanted[place].key, sealed)
        hits = sum(one is not None for one in opened)
        self.tally.hits += hits
        self.tally.misses += len(wanted) - hits
        return opened

    def put(self, write: Write) -> None:
        """Queues an entry; drops it when the store isn't asked or too much waits."""
        full = len(self._writes) >= WAITING_WRITES or self._write_bytes + len(write.value) > WAITING_BYTES
        if full or self._breaker.state is not State.CLOSED:
            self.tally.dropped_writes += 1
            return
        self._writes.append(write)
        self._write_bytes += len(write.value)
        self._waiting.set()

    async def forget(self, scope: Scope) -> int:
        """Removes what `scope` covers, also what is on its way. Raises StoreFailed.

        What could not be removed is not served either, and removed once the store is back.
        """
        self._unfinished.append(scope if len(self._unfinished) < UNFINISHED else Scope())
        if self._breaker.state is not State.CLOSED:
            raise StoreFailed(self._problem)
        try:
            return await self._finished()
        except StoreFailed as error:
            self._failed(str(error))
            raise

    async def count(self) -> int:
        """Entries in the store, whoever wrote them; -1 when it doesn't answer."""
        if self._breaker.state is not State.CLOSED:
            return -1
        try:
            async with asyncio.timeout(WRITE_S):
                return await self._store.count()
        except StoreFailed as error:
            self._failed(str(error))
        except TimeoutError:
            self._failed(SLOW)
        return -1

    def state(self) -> LevelState:
        """How the level does."""
        return LevelState("redis", -1, -1, self.tally, 0, self._breaker.state, self._problem)

    async def write(self) -> None:
        """Writes what is queued, for ever."""
        while True:
            await self._waiting.wait()
            while self._writes:
                async with self._writing:
                    await self._write_some()
            self._waiting.clear()

    async def watch(self) -> None:
        """Tries the store while the breaker is open or something is left to remove, for ever."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_S)

    async def probe(self) -> None:
        """Tries the store now if it is time to: it must connect, and then answer within a look-up's budget."""
        if self._breaker.state is State.CLOSED and not self._unfinished:
            return
        if not self._breaker.admit(self._clock.monotonic()):
            return
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._store.ping()
            async with asyncio.timeout(self._budget_s):
                await self._store.ping()
            # Before any look-up: what was to be forgotten meanwhile.
            await self._finished()
        except StoreFailed as error:
            self._failed(str(error))
        except TimeoutError:
            self._failed(SLOW)
        else:
            self._succeeded()

    async def _fetched(self, names: Sequence[str], budget_s: float) -> list[bytes | None]:
        nothing: list[bytes | None] = [None] * len(names)
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(budget_s):
                stored = await self._store.get(names)
        except StoreFailed as error:
            self._failed(str(error))
            return nothing
        except TimeoutError:
            self._failed(SLOW)
            return nothing
        except asyncio.CancelledError:
            # A caller that gives up first must not hide that the store is slow.
            if self._clock.monotonic() - began >= budget_s / 2:
                self._failed(SLOW)
            raise
        self._succeeded()
        return stored

    def _believed(self, key: bytes, stored: bytes) -> Opened | None:
        try:
            return self._seal.opened(key, stored, self._now_ms())
        except EntryRefused as refused:
            self.tally.rejected += 1
            log.warning("an entry of the store was refused", why=str(refused))
            return None

    async def _write_some(self) -> None:
        """Writes what waits, so many at once; empty when it was forgotten while the lock was awaited."""
        entries: list[Stored] = []
        while self._writes and len(entries) < WRITTEN_AT_ONCE:
            write = self._writes.popleft()
            self._write_bytes -= len(write.value)
            life_ms = int((write.ends - self._clock.monotonic()) * 1000)
            if life_ms <= 0 or self._breaker.state is not State.CLOSED:
                self.tally.dropped_writes += 1
                continue
            sealed = self._seal.sealed(write.key, write.value, self._now_ms(), life_ms)
            entries.append(Stored(self._names.name(write.tenant, write.model, write.key), sealed, life_ms))
        if not entries:
            return
        try:
            async with asyncio.timeout(WRITE_S):
                await self._store.set(entries)
        except StoreFailed as error:
            self._failed(str(error))
        except TimeoutError:
            self._failed(SLOW)

    async def _finished(self) -> int:
        """Does what `forget` was asked for and could not do; raises StoreFailed."""
        removed = 0
        async with self._writing:
            while self._unfinished:
                scope = self._unfinished[0]
                self._writes = deque(
                    write for write in self._writes if not scope.covers(write.tenant, write.model, write.key)
                )
                self._write_bytes = sum(len(write.value) for write in self._writes)
                removed += await self._removed(scope)
                self._unfinished.remove(scope)
        return removed

    async def _removed(self, scope: Scope) -> int:
        try:
            async with asyncio.timeout(REMOVE_S):
                return await self._store.remove(self._names.pattern(scope.tenant, scope.model, scope.key))
        except TimeoutError:
            raise StoreFailed(SLOW) from None

    def _held_back(self, wanted: Wanted) -> bool:
        return any(scope.covers(wanted.tenant, wanted.model, wanted.key) for scope in self._unfinished)

    def _succeeded(self) -> None:
        self._breaker.succeeded()
        if self._problem and self._breaker.state is State.CLOSED:
            log.info("the store answers")
            self._problem = ""

    def _failed(self, problem: str) -> None:
        self.tally.errors += 1
        self._breaker.failed(self._clock.monotonic())
        if self._breaker.state is not State.CLOSED and problem != self._problem:
            log.warning("the store can't be used; answers are kept in memory alone", why=problem)
            self._problem = problem

    def _now_ms(self) -> int:
        return self._clock.time_ns() // 1_000_000
