"""The levels, nearest first: look-up with write-back, writes to all, forgetting everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal, NamedTuple, Protocol

from headrace.cache.core.breaker import State
from headrace.cache.core.entry import Opened
from headrace.cache.core.shelf import Kept, Scope, Shelf
from headrace.runtime.clock import Clock

LevelName = Literal["memory", "redis"]

TOGETHER_BYTES = 16 << 20
"""So much is answered to one call, above the largest single entry: what exceeds it counts as missing and is made anew."""

SHARE_BEHIND = 0.7
"""Of the caller's time, for the level behind: a miss must reach the caller before it gives this service up."""


@dataclass(slots=True)
class Tally:
    """What a level counts; only its event loop writes it."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    rejected: int = 0
    dropped_writes: int = 0


@dataclass(frozen=True, slots=True)
class LevelState:
    """How a level does. -1 is what it doesn't tell; memory has no breaker."""

    level: LevelName
    entries: int
    held_bytes: int
    tally: Tally
    evicted: int
    breaker: State | None
    problem: str


class Wanted(NamedTuple):
    """What is looked up: the key of an answer, and whose and which model's it must be."""

    key: bytes
    tenant: str
    model: str


@dataclass(frozen=True, slots=True)
class Write:
    """An entry on its way to the level behind; `ends` on the monotonic clock."""

    key: bytes
    tenant: str
    model: str
    value: bytes
    ends: float


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer, its level, and how many seconds it may still be served."""

    value: bytes
    level: LevelName
    life_s: float


class Behind(Protocol):
    """The level behind memory."""

    async def get(self, wanted: Sequence[Wanted], within_s: float) -> list[Opened | None]:
        """The entries, in the order asked for, in `within_s` or not at all."""

    def put(self, write: Write) -> None: ...

    async def forget(self, scope: Scope) -> int:
        """Removes what is covered; raises StoreFailed."""

    async def count(self) -> int:
        """How many entries it holds; -1 when it doesn't tell."""

    def state(self) -> LevelState | None:
        """How it does, but for its entries; None for a level that is off."""


class Nothing:
    """Behind memory there is nothing."""

    async def get(self, wanted: Sequence[Wanted], _within_s: float) -> list[Opened | None]:
        return [None] * len(wanted)

    def put(self, _write: Write) -> None:
        return

    async def forget(self, _scope: Scope) -> int:
        return 0

    async def count(self) -> int:
        return 0

    def state(self) -> LevelState | None:
        return None


class Levels:
    """Memory, and what is behind it."""

    def __init__(
        self, shelf: Shelf, behind: Behind, clock: Clock, *, ttl_s: float, max_value_bytes: int
    ) -> None:
        """`ttl_s` is the longest life of an entry, on every level together."""
        self._shelf = shelf
        self._behind = behind
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_value_bytes = max_value_bytes
        self._epoch = 0
        self.tally = Tally()

    async def get(self, wanted: Sequence[Wanted], left_s: float | None = None) -> list[Hit | None]:
        """Each answer from the first level that has it; from then on memory has it too, for what is left of its life.

        The caller waits no longer than `left_s`.
        """
        hits = [self._in_memory(one) for one in wanted]
        missing = [place for place, hit in enumerate(hits) if hit is None]
        if not missing:
            return _bounded(hits)
        epoch = self._epoch
        within_s = inf if left_s is None else SHARE_BEHIND * left_s
        found = await self._behind.get([wanted[place] for place in missing], within_s)
        if epoch == self._epoch:  # else it may have been forgotten while it was under way
            for place, opened in zip(missing, found, strict=True):
                hits[place] = self._kept(wanted[place], opened)
        return _bounded(hits)

    def _in_memory(self, wanted: Wanted) -> Hit | None:
        now = self._clock.monotonic()
        kept = self._shelf.get(wanted.key, now)
        if kept is None or (kept.tenant, kept.model) != (wanted.tenant, wanted.model):
            self.tally.misses += 1
            return None
        self.tally.hits += 1
        return Hit(kept.value, "memory", kept.expires - now)

    def _kept(self, wanted: Wanted, opened: Opened | None) -> Hit | None:
        """What the level behind had, in memory too."""
        if opened is None:
            return None
        life_s = opened.life_ms / 1000
        ends = self._clock.monotonic() + life_s
        self._shelf.put(wanted.key, Kept(opened.value, wanted.tenant, wanted.model, ends))
        return Hit(opened.value, "redis", life_s)

    def put(self, key: bytes, tenant: str, model: str, value: bytes, life_s: float | None) -> None:
        """Keeps an answer on every level for `life_s`, at most for the longest life; one too large on none."""
        if len(value) > self._max_value_bytes:
            return
        ends = self._clock.monotonic() + min(self._ttl_s if life_s is None else life_s, self._ttl_s)
        self._shelf.put(key, Kept(value, tenant, model, ends))
        self._behind.put(Write(key, tenant, model, value, ends))

    async def forget(self, scope: Scope) -> int:
        """Removes what `scope` covers from every level; raises StoreFailed when one can't be reached."""
        self._epoch += 1
        removed = self._shelf.forget(scope)
        return removed + await self._behind.forget(scope)

    def states(self) -> list[LevelState]:
        """How each level does, nearest first; what is behind memory doesn't tell its entries."""
        shelf = self._shelf
        memory = LevelState("memory", len(shelf), shelf.held_bytes, self.tally, shelf.evicted, None, "")
        behind = self._behind.state()
        return [memory] if behind is None else [memory, behind]

    async def counted(self) -> list[LevelState]:
        """`states`, with the entries that the level behind tells."""
        count = await self._behind.count()
        memory, *behind = self.states()
        return [memory, *(replace(state, entries=count) for state in behind)]


def _bounded(hits: list[Hit | None]) -> list[Hit | None]:
    held = 0
    for place, hit in enumerate(hits):
        held += 0 if hit is None else len(hit.value)
        if held > TOGETHER_BYTES:
            return [*hits[:place], *([None] * (len(hits) - place))]
    return hits
