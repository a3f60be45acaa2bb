"""Entries in memory: bounded in number and in bytes, each with its end.

The least recently *used* entry leaves first. `now` and the ends of entries are
on one clock, which the owner chooses.
"""

from dataclasses import dataclass

from cachetools import LRUCache

OVERHEAD_BYTES = 512
"""What an entry costs beside its value: key, names, and what Python keeps of them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Entries that have every field that is set; an empty field says nothing."""

    tenant: str = ""
    model: str = ""
    key: bytes = b""

    def covers(self, tenant: str, model: str, key: bytes) -> bool:
        return self.tenant in ("", tenant) and self.model in ("", model) and self.key in (b"", key)


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry: the answer, whose and of what it is, and when it ends."""

    value: bytes
    tenant: str
    model: str
    expires: float

    @property
    def size(self) -> int:
        return len(self.value) + OVERHEAD_BYTES


class Shelf:
    """The entries; `evicted` counts those that made room for others."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._kept: LRUCache[bytes, Kept] = LRUCache(max_bytes, getsizeof=lambda kept: kept.size)
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def held_bytes(self) -> int:
        """Bytes held, with their overhead."""
        return int(self._kept.currsize)

    def get(self, key: bytes, now: float) -> Kept | None:
        """The entry, which was used now; None when there is none or its time is over."""
        kept = self._kept.get(key)
        if kept is None or kept.expires > now:
            return kept
        del self._kept[key]
        return None

    def put(self, key: bytes, kept: Kept) -> bool:
        """Keeps an entry and lets others go for it; False when it is larger than all the room."""
        self._kept.pop(key, None)
        if kept.size > self._kept.maxsize or not self._max_entries:
            return False
        before = len(self._kept)
        if before == self._max_entries:
            self._kept.popitem()
        self._kept[key] = kept
        self.evicted += before + 1 - len(self._kept)
        return True

    def forget(self, scope: Scope) -> int:
        """Removes what `scope` covers; tells how many that were."""
        covered = [key for key, kept in self._kept.items() if scope.covers(kept.tenant, kept.model, key)]
        for key in covered:
            del self._kept[key]
        return len(covered)

    def clear(self) -> None:
        """Removes every entry."""
        self._kept.clear()
