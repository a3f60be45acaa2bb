"""The history of decisions."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace.scaling.core.policy import Action, Cause, Decision

KEPT = 200
"""Decisions that are remembered."""

_BLOCKED = frozenset({Cause.AT_MAX, Cause.AT_MIN, Cause.COOLDOWN, Cause.NO_DATA})


@dataclass(frozen=True, slots=True)
class Entry:
    """A decision in the history; `number` rises by one, `time_ns` is since 1970."""

    number: int
    time_ns: int
    decision: Decision


class History:
    """The newest decisions that changed something, or that something kept from changing it."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = deque(entries, maxlen=KEPT)
        self._last: Cause | None = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def newest(self, limit: int) -> list[Entry]:
        """At most `limit` entries, newest first."""
        return list(self._entries)[: -limit - 1 : -1]

    def entry(self, decision: Decision, time_ns: int, *, asked: bool = False) -> Entry | None:
        """The next entry, not added yet; None for a decision that tells nothing new. What was `asked` for always does."""
        news = asked or decision.action is not Action.HOLD
        if decision.cause in _BLOCKED and decision.cause is not self._last:
            news = True
        self._last = decision.cause
        if not news:
            return None
        number = self._entries[-1].number + 1 if self._entries else 1
        return Entry(number, time_ns, decision)

    def add(self, entry: Entry) -> None:
        """Keeps the entry, the oldest of too many goes."""
        self._entries.append(entry)
