"""The billing keys that were taken, on disk: by period of the events' own time, written one after another.

Keys are hashes: in a table sorted by key each would lie on a page of its own, and
a batch of 1024 would write 4 MB. So a batch's keys are one row, and are kept in
mind too; when many have come, or their time has passed, they are sorted once and
written as a *run*, a page for each row. Nothing here is committed: the ledger's
transaction is. Not thread-safe: the ledger's.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.metering.core.billing import KeyState
from headrace.metering.core.bloom import Bloom
from headrace.metering.core.rows import KEY_BYTES, NO_KEY
from headrace.metering.core.tokens import TOKEN_BYTES, hashes_of

HOUR_MS = 3_600_000

RUN_KEYS = 65_536
ROW_KEYS = 180
"""3600 bytes: a page holds one such row."""
SMALLEST_FILTER = 4096


class Family(NamedTuple):
    """Keys of one origin: the same key within `span` periods of `period_hours` is the same request."""

    name: str
    period_hours: int
    span: int

    def periods(self, hours: int) -> int:
        """So many hours in periods, rounded up."""
        return -(-hours // self.period_hours)


EDGE = Family("edge", 1, 24)
"""Request identifiers of the edge: unique for a day."""
CLIENT = Family("client", 24, 35)
"""Idempotency keys of clients: unique for 35 days."""
FAMILIES = {family.name: family for family in (EDGE, CLIENT)}


@dataclass(slots=True)
class Period:
    """One period's keys: `recent` ones with their digests, and how many runs there are."""

    family: Family
    number: int
    recent: dict[bytes, bytes] = field(default_factory=dict)
    runs: int = 0
    bloom: Bloom | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What its rows begin with."""
        return self.family.name, self.number


class KeyStore:
    """Finds and keeps keys inside the ledger's transactions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._periods: dict[tuple[str, int], Period] = {}
        self.reload()

    def reload(self) -> None:
        """Reads again what is in the file: a transaction was undone."""
        self._periods = {}
        for name, number, runs in self._db.execute(
            "SELECT family, period, max(run) FROM key_runs GROUP BY family, period"
        ):
            self._period(FAMILIES[name], number).runs = runs
        for name, number, tokens, digests in self._db.execute(
            "SELECT family, period, tokens, digests FROM key_batches"
        ):
            self._period(FAMILIES[name], number).recent.update(_pairs(tokens, digests))

    def near(self, family: Family) -> list[Period]:
        """The family's periods that have keys."""
        return [period for period in self._periods.values() if period.family is family]

    def find(self, period: Period, token: bytes) -> KeyState | None:
        """The key's state, if it was taken in that period."""
        digest = period.recent.get(token) or self._in_runs(period, token)
        if digest is None:
            return None
        free = self._db.execute(
            "SELECT free FROM key_states WHERE family = ? AND period = ? AND token = ?", (*period.key, token)
        ).fetchone()
        return KeyState(digest, free[0] if free else 0)

    def add(self, family: Family, number: int, keys: Mapping[bytes, bytes]) -> None:
        """Takes keys, tokens with their digests, that are new."""
        period = self._period(family, number)
        # Before the filter is made of what is there: these keys must not be there yet.
        self.filter(period, len(keys)).add(*hashes_of(b"".join(keys)))
        period.recent.update(keys)
        self._db.execute(
            "INSERT INTO key_batches VALUES (NULL, ?, ?, ?, ?)", (*period.key, *_joined(list(keys.items())))
        )
        if len(period.recent) >= RUN_KEYS:
            self._settle(period)

    def change(self, family: Family, number: int, token: bytes, free: int) -> None:
        """Remembers how often a key that was taken in this period was executed again for free."""
        values = (family.name, number, token, free)
        self._db.execute("INSERT OR REPLACE INTO key_states VALUES (?, ?, ?, ?)", values)

    def filter(self, period: Period, more: int = 0) -> Bloom:
        """The period's filter, with room for so many more keys."""
        bloom = period.bloom
        if bloom is None or bloom.count + more > bloom.capacity:
            known = [b"".join(period.recent), *self._run_tokens(period)]
            count = sum(map(len, known)) // TOKEN_BYTES
            bloom = period.bloom = Bloom(max(SMALLEST_FILTER, 2 * (count + more)))
            for tokens in known:
                bloom.add(*hashes_of(tokens))
        return bloom

    def tidy(self, now_ms: int, kept_hours: int) -> int:
        """Sorts periods that have passed, and drops those of which no event can come any more; says how many."""
        dropped = 0
        for period in list(self._periods.values()):
            family = period.family
            now = now_ms // (HOUR_MS * family.period_hours)
            if period.number < now - family.span - family.periods(kept_hours):
                dropped += self._drop(period)
            elif period.recent and period.number < now - 1:
                self._settle(period)
        return dropped

    def _period(self, family: Family, number: int) -> Period:
        return self._periods.setdefault((family.name, number), Period(family, number))

    def _in_runs(self, period: Period, token: bytes) -> bytes | None:
        for run in range(1, period.runs + 1):
            row = self._db.execute(
                "SELECT tokens, digests FROM key_runs WHERE family = ? AND period = ? AND run = ? "
                "AND first <= ? ORDER BY first DESC LIMIT 1",
                (*period.key, run, token),
            ).fetchone()
            found = dict(_pairs(*row)).get(token) if row else None
            if found is not None:
                return found
        return None

    def _run_tokens(self, period: Period) -> Iterator[bytes]:
        rows = self._db.execute(
            "SELECT tokens FROM key_runs WHERE family = ? AND period = ? ORDER BY run, first", period.key
        )
        return (tokens for (tokens,) in rows)

    def _settle(self, period: Period) -> None:
        """Writes the recent keys as a run."""
        period.runs += 1
        pairs = sorted(period.recent.items())
        rows = (
            (*period.key, period.runs, some[0][0], *_joined(some))
            for some in (pairs[at : at + ROW_KEYS] for at in range(0, len(pairs), ROW_KEYS))
        )
        self._db.executemany("INSERT INTO key_runs VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._db.execute("DELETE FROM key_batches WHERE family = ? AND period = ?", period.key)
        period.recent = {}

    def _drop(self, period: Period) -> int:
        for statement in _DROP:
            self._db.execute(statement, period.key)
        del self._periods[period.key]
        return 1


_DROP = (
    "DELETE FROM key_batches WHERE family = ? AND period = ?",
    "DELETE FROM key_runs WHERE family = ? AND period = ?",
    "DELETE FROM key_states WHERE family = ? AND period = ?",
)


def _joined(pairs: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """The tokens, and the digests unless all are none."""
    digests = b"".join(digest for _, digest in pairs)
    return b"".join(token for token, _ in pairs), digests if digests.strip(b"\0") else b""


def _pairs(tokens: bytes, digests: bytes) -> Iterator[tuple[bytes, bytes]]:
    """What `_joined` joined."""
    for i in range(len(tokens) // TOKEN_BYTES):
        digest = digests[KEY_BYTES * i : KEY_BYTES * (i + 1)]
        yield tokens[TOKEN_BYTES * i : TOKEN_BYTES * (i + 1)], digest or NO_KEY
