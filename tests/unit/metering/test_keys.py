"""The index of billing keys over hours."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace.metering.keys import KeyIndex
from headrace.metering.keystore import RUN_KEYS
from headrace.metering.schema import opened
from tests.fakes.metering import NOON_MS, event, keys, recording

HOUR_MS = 3_600_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = opened(tmp_path / "ledger.sqlite3")
    yield db
    db.close()


def charged(index: KeyIndex, hour: int, digest: bytes = b"", key: bytes = b"k") -> bool:
    """Whether an event of that hour is charged."""
    batch = recording([event(key, time_ms=NOON_MS + hour * HOUR_MS, digest=digest)]).batch
    return bool(index.judge(batch, np.zeros(1, np.int64))[0])


@pytest.mark.parametrize(("digest", "hours"), [(b"", 24), (b"d", 35 * 24)])
def test_a_key_is_known_for_its_span(db: sqlite3.Connection, digest: bytes, hours: int) -> None:
    """A day for the edge's, 35 days for the clients', earlier or later; by the events' own time."""
    index = KeyIndex(db)
    assert charged(index, 0, digest)
    assert not charged(index, hours, digest)
    assert not charged(index, -hours, digest)
    assert charged(index, 3 * hours, digest)


def test_the_edges_keys_are_not_the_clients(db: sqlite3.Connection) -> None:
    """A client that chooses an identifier of the edge as its key takes nothing from anybody."""
    index = KeyIndex(db)
    assert charged(index, 0)
    assert charged(index, 0, b"digest")


def judged(index: KeyIndex, known: list[bytes]) -> int:
    """How many of these events are charged."""
    batch = recording([event(key) for key in known]).batch
    return int(index.judge(batch, np.zeros(len(batch), np.int64)).sum())


def test_keys_are_known_wherever_they_lie(db: sqlite3.Connection) -> None:
    """Recent or sorted into runs, before a restart or after it: none is forgotten, none is made up."""
    index = KeyIndex(db)
    known = keys(range(RUN_KEYS + 10_000))
    for at in range(0, len(known), 4000):
        assert judged(index, known[at : at + 4000]) == len(known[at : at + 4000])
    assert db.execute("SELECT max(run) FROM key_runs").fetchone() == (1,)
    assert judged(index, known[::100]) == 0
    assert judged(KeyIndex(db), known[::100]) == 0
    assert judged(index, keys(range(10**9, 10**9 + 1000))) == 1000


def test_a_period_that_has_passed_is_sorted(db: sqlite3.Connection) -> None:
    """Its keys are no longer kept in mind, digests and counts of free executions stay."""
    index = KeyIndex(db)
    assert charged(index, 0, b"d", b"a")
    assert not charged(index, 0, b"d", b"a")
    index.tidy(NOON_MS + 60 * HOUR_MS, 1000)
    assert db.execute("SELECT count(*) FROM key_batches").fetchone() == (0,)
    for again in (index, KeyIndex(db)):
        assert not charged(again, 1, b"d", b"a")  # the second and the third free execution
    assert charged(index, 2, b"d", b"a")
    assert charged(index, 2, b"other", b"a")
