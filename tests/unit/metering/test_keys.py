"""The index of billing keys over hours."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace.metering.keys import CLIENT, EDGE, SPAN_HOURS, KeyIndex
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


@pytest.mark.parametrize(("digest", "family"), [(b"", EDGE), (b"d", CLIENT)])
def test_a_key_is_known_for_its_span(db: sqlite3.Connection, digest: bytes, family: str) -> None:
    """A day for the edge's, 35 days for the clients', earlier or later; by the events' own time."""
    index, span = KeyIndex(db), SPAN_HOURS[family]
    assert charged(index, 0, digest)
    assert not charged(index, span, digest)
    assert not charged(index, -span, digest)
    assert charged(index, 2 * span + 1, digest)


def test_the_edges_keys_are_not_the_clients(db: sqlite3.Connection) -> None:
    """A client that chooses an identifier of the edge as its key takes nothing from anybody."""
    index = KeyIndex(db)
    assert charged(index, 0)
    assert charged(index, 0, b"digest")


def test_the_filter_grows_with_the_hour(db: sqlite3.Connection) -> None:
    """Beyond its first size it is built anew from the table, and forgets nothing."""
    index = KeyIndex(db)
    known = keys(range(70_000))
    for at in range(0, len(known), 4000):
        batch = recording([event(key) for key in known[at : at + 4000]]).batch
        assert index.judge(batch, np.zeros(len(batch), np.int64)).all()
    again = recording([event(key) for key in known[::20]]).batch
    assert not index.judge(again, np.zeros(len(again), np.int64)).any()
    assert not KeyIndex(db).judge(again, np.zeros(len(again), np.int64)).any()
