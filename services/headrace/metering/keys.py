"""Judges which events are charged, by the billing keys that were taken before.

Nearly every key is new. A Bloom filter for each period says so of most of them
at once; only the others, and those that occur twice in a batch, are looked up
and judged one by one. Not thread-safe: the ledger's.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headrace.metering.core.batch import Batch, Flags, Ints, present
from headrace.metering.core.billing import ANSWERED, KeyState, judged
from headrace.metering.core.bloom import Words
from headrace.metering.core.tokens import as_bytes, hashes_of, tokens_of
from headrace.metering.keystore import CLIENT, EDGE, HOUR_MS, Family, KeyStore, Period
from headrace.metering.usage import UsageKind


class Keyed(NamedTuple):
    """The events of a batch that have a key of one family."""

    family: Family
    tokens: list[bytes]
    first: Words
    second: Words
    periods: Ints
    kinds: Ints
    digests: list[bytes]


class KeyIndex:
    """Judges batches inside the ledger's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._store = KeyStore(db)

    def reload(self) -> None:
        """Forgets what a transaction that was undone has changed."""
        self._store.reload()

    def tidy(self, now_ms: int, kept_hours: int) -> int:
        """Drops periods of which no event can come any more, if none is older than `kept_hours`; says how many."""
        return self._store.tidy(now_ms, kept_hours)

    def judge(self, batch: Batch, tenants: Ints) -> Flags:
        """For each event whether it is charged; remembers the keys. `tenants` has each event's tenant's number."""
        charged = np.ones(len(batch), np.bool_)
        keyed = present(batch.billing_key) & (batch.kind != UsageKind.FAILED)
        from_client = present(batch.digest)
        for family, of_family in ((EDGE, keyed & ~from_client), (CLIENT, keyed & from_client)):
            places = np.flatnonzero(of_family)
            if len(places):
                charged[places] = self._judge(_keyed(family, batch, tenants, places))
        return charged

    def _judge(self, events: Keyed) -> Flags:
        charged = np.ones(len(events.tokens), np.bool_)
        takes = np.isin(events.kinds, ANSWERED)
        for place, charge, take in self._judge_each(events, self._suspects(events)):
            charged[place], takes[place] = charge, take
        for number in np.unique(events.periods[takes]).tolist():
            places = np.flatnonzero(takes & (events.periods == number)).tolist()
            self._store.add(events.family, number, {events.tokens[i]: events.digests[i] for i in places})
        return charged

    def _suspects(self, events: Keyed) -> dict[int, list[Period]]:
        """Events whose key may be known, with the periods to look in; it may occur twice in the batch, too."""
        counts = Counter(events.tokens)
        suspects: dict[int, list[Period]] = {}
        if len(counts) < len(events.tokens):
            suspects = {i: [] for i, token in enumerate(events.tokens) if counts[token] > 1}
        for period in self._store.near(events.family):
            near = np.flatnonzero(np.abs(events.periods - period.number) <= events.family.span)
            if len(near):
                found = self._store.filter(period).may_have(events.first[near], events.second[near])
                for place in near[found].tolist():
                    suspects.setdefault(place, []).append(period)
        return suspects

    def _judge_each(
        self, events: Keyed, suspects: Mapping[int, Sequence[Period]]
    ) -> Iterator[tuple[int, bool, bool]]:
        """For each suspect, in the events' order: its place, whether it is charged, whether it takes its key."""
        known: dict[bytes, tuple[int, KeyState]] = {}
        for place in sorted(suspects):
            token, digest = events.tokens[place], events.digests[place]
            period, state = known.get(token) or self._found(suspects[place], token) or (0, None)
            charged, after = judged(int(events.kinds[place]), digest, state)
            if after is not None and after != state:
                number = int(events.periods[place]) if state is None else period
                known[token] = (number, after)
                if after.free:
                    self._store.change(events.family, number, token, after.free)
            yield place, charged, state is None and after is not None

    def _found(self, periods: Sequence[Period], token: bytes) -> tuple[int, KeyState] | None:
        for period in periods:
            state = self._store.find(period, token)
            if state is not None:
                return period.number, state
        return None


def _keyed(family: Family, batch: Batch, tenants: Ints, places: Ints) -> Keyed:
    tokens = tokens_of(tenants[places], batch.billing_key[places])
    return Keyed(
        family,
        as_bytes(tokens),
        *hashes_of(tokens),
        batch.time_ms[places] // (HOUR_MS * family.period_hours),
        batch.kind[places],
        batch.digest[places].tolist(),
    )
