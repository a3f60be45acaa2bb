"""The billing keys that were charged: a table for each hour of the events' own time.

Forgetting an hour drops its table. A key is looked for in every hour in which
the same key may have been used; a Bloom filter for each hour makes that cheap
where the key is new, which is nearly always. Not thread-safe: the ledger's.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.metering.core.batch import Batch, Flags, Ints, present
from headrace.metering.core.billing import ANSWERED, KeyState, judged
from headrace.metering.core.bloom import Bloom, Words
from headrace.metering.usage import UsageKind

HOUR_MS = 3_600_000
EDGE, CLIENT = "edge", "client"
SPAN_HOURS = {EDGE: 24, CLIENT: 35 * 24}
"""For how long a key is the same one: the edge's request identifiers, the clients' idempotency keys."""

_TOKEN = np.dtype([("tenant", ">u4"), ("first", "<u8"), ("second", "<u8")])
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_TABLE = re.compile(r"keys_(edge|client)_([0-9]+)")
_SMALLEST = 65_536
_LOADED_AT_ONCE = 65_536


@dataclass(slots=True)
class Partition:
    """One hour's keys of one family."""

    family: str
    hour: int
    bloom: Bloom | None = field(default=None, repr=False)

    @property
    def table(self) -> str:
        """The table's name, of our own making."""
        return f"keys_{self.family}_{self.hour}"


class Keyed(NamedTuple):
    """The events of a batch that have a key of one family."""

    tokens: list[bytes]
    first: Words
    second: Words
    hours: Ints
    kinds: Ints
    digests: list[bytes]


class KeyIndex:
    """Judges batches inside the ledger's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._partitions: dict[tuple[str, int], Partition] = {}
        self.reload()

    def reload(self) -> None:
        """Looks again which hours there are: a transaction that made some was undone."""
        tables = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found = (_TABLE.fullmatch(name) for (name,) in tables)
        keys = [(match[1], int(match[2])) for match in found if match]
        self._partitions = {key: self._partitions.get(key) or Partition(*key) for key in keys}

    def judge(self, batch: Batch, tenants: Ints) -> Flags:
        """For each event whether it is charged; remembers the keys. `tenants` has each event's tenant's number."""
        charged = np.ones(len(batch), np.bool_)
        keyed = present(batch.billing_key) & (batch.kind != UsageKind.FAILED)
        from_client = present(batch.digest)
        for family, of_family in ((EDGE, keyed & ~from_client), (CLIENT, keyed & from_client)):
            places = np.flatnonzero(of_family)
            if len(places):
                charged[places] = self._judge(family, _keyed(batch, tenants, places))
        return charged

    def forget(self, now_ms: int, kept_hours: int) -> int:
        """Drops the hours of which no event can come any more that is `kept_hours` old at the most."""
        now = now_ms // HOUR_MS
        old = [p for p in self._partitions.values() if p.hour < now - SPAN_HOURS[p.family] - kept_hours]
        for partition in old:
            self._db.execute(f"DROP TABLE {partition.table}")
            del self._partitions[partition.family, partition.hour]
        return len(old)

    def _judge(self, family: str, events: Keyed) -> Flags:
        suspects = self._suspects(family, events)
        charged = np.ones(len(events.tokens), np.bool_)
        new = np.isin(events.kinds, ANSWERED)
        for place, verdict in self._judge_each(family, events, suspects):
            charged[place] = verdict
            new[place] = False
        self._insert(family, events, np.flatnonzero(new).tolist())
        return charged

    def _suspects(self, family: str, events: Keyed) -> dict[int, list[Partition]]:
        """Events whose key may be known, with the hours to look in; it may occur twice in the batch, too."""
        counts = Counter(events.tokens)
        suspects: dict[int, list[Partition]] = {}
        if len(counts) < len(events.tokens):
            suspects = {i: [] for i, token in enumerate(events.tokens) if counts[token] > 1}
        for partition in [p for p in self._partitions.values() if p.family == family]:
            near = np.flatnonzero(np.abs(events.hours - partition.hour) <= SPAN_HOURS[family])
            found = self._bloom(partition).may_have(events.first[near], events.second[near])
            for place in near[found].tolist():
                suspects.setdefault(place, []).append(partition)
        return suspects

    def _judge_each(
        self, family: str, events: Keyed, suspects: Mapping[int, Sequence[Partition]]
    ) -> Iterator[tuple[int, bool]]:
        """The verdict on each suspect, in the events' order; remembers what it changes."""
        known: dict[bytes, tuple[Partition, KeyState]] = {}
        for place in sorted(suspects):
            token, digest = events.tokens[place], events.digests[place]
            found = known.get(token) or self._find(suspects[place], token)
            verdict = judged(int(events.kinds[place]), digest, found[1] if found else None)
            if verdict.state is not None and (found is None or verdict.state != found[1]):
                partition = found[0] if found else self._partition(family, int(events.hours[place]))
                known[token] = (partition, verdict.state)
                self._write(partition, token, verdict.state)
                if found is None:
                    self._bloom(partition).add(events.first[[place]], events.second[[place]])
            yield place, verdict.charged

    def _find(self, partitions: Sequence[Partition], token: bytes) -> tuple[Partition, KeyState] | None:
        for partition in partitions:
            row = self._db.execute(
                f"SELECT digest, free FROM {partition.table} WHERE key = ?",  # noqa: S608 - our own name
                (token,),
            ).fetchone()
            if row:
                return partition, KeyState(*row)
        return None

    def _write(self, partition: Partition, token: bytes, state: KeyState) -> None:
        self._db.execute(
            f"INSERT OR REPLACE INTO {partition.table} VALUES (?, ?, ?)",  # noqa: S608 - our own name
            (token, *state),
        )

    def _insert(self, family: str, events: Keyed, places: Sequence[int]) -> None:
        """Takes keys that are certainly new."""
        hours = events.hours[places]
        for hour in np.unique(hours).tolist():
            partition = self._partition(family, hour)
            of_hour = np.asarray(places)[hours == hour]
            # The filter first: built from the table now, it must not meet these keys there.
            self._bloom(partition, len(of_hour)).add(events.first[of_hour], events.second[of_hour])
            rows = ((events.tokens[i], events.digests[i]) for i in of_hour.tolist())
            self._db.executemany(f"INSERT INTO {partition.table} VALUES (?, ?, 0)", rows)  # noqa: S608 - our own name

    def _partition(self, family: str, hour: int) -> Partition:
        found = self._partitions.get((family, hour))
        if found is None:
            found = Partition(family, hour)
            self._db.execute(
                f"CREATE TABLE {found.table} "
                "(key BLOB PRIMARY KEY, digest BLOB NOT NULL, free INTEGER NOT NULL) WITHOUT ROWID"
            )
            self._partitions[family, hour] = found
        return found

    def _bloom(self, partition: Partition, more: int = 0) -> Bloom:
        """The hour's filter, with room for so many more keys."""
        bloom = partition.bloom
        if bloom is None or bloom.count + more > bloom.capacity:
            count = self._db.execute(f"SELECT count(*) FROM {partition.table}").fetchone()[0]  # noqa: S608
            bloom = partition.bloom = Bloom(max(_SMALLEST, 2 * (count + more)))
            keys = self._db.execute(f"SELECT key FROM {partition.table}")  # noqa: S608 - our own name
            while rows := keys.fetchmany(_LOADED_AT_ONCE):
                bloom.add(*_hashes(np.frombuffer(b"".join(row[0] for row in rows), _TOKEN)))
        return bloom


def _keyed(batch: Batch, tenants: Ints, places: Ints) -> Keyed:
    tokens = np.empty(len(places), _TOKEN)
    tokens["tenant"] = tenants[places]
    halves = batch.billing_key[places].view(np.uint64).reshape(-1, 2)
    tokens["first"], tokens["second"] = halves[:, 0], halves[:, 1]
    return Keyed(
        tokens.view(f"V{_TOKEN.itemsize}").tolist(),
        *_hashes(tokens),
        batch.time_ms[places] // HOUR_MS,
        batch.kind[places],
        batch.digest[places].tolist(),
    )


def _hashes(tokens: NDArray[np.void]) -> tuple[Words, Words]:
    """Two hashes of each: the keys are hashes already."""
    return tokens["first"] ^ (tokens["tenant"].astype(np.uint64) * _SPREAD), tokens["second"]
