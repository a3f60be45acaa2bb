"""The ledger's file: what one transaction holds, and what survives."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.metering.core.prices import DEFAULT_BOOK, PriceBook
from headrace.metering.ledger import Ledger
from headrace.metering.reader import LedgerReader
from headrace.metering.schema import LedgerUnusable, opened
from headrace.metering.usage import CostRow, UsageKind
from tests.fakes.metering import BOOKS, NOON_MS, event, keys, recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, BOOKS.all)
    yield ledger
    ledger.close()


@pytest.fixture
def reader(path: Path, ledger: Ledger) -> Iterator[LedgerReader]:
    reader = LedgerReader(path)
    yield reader
    reader.close()


def costs(reader: LedgerReader, *, by_tenant: bool = True, by_model: bool = True) -> list[CostRow]:
    return reader.costs(0, 2**62, "USD", by_tenant=by_tenant, by_model=by_model)


def test_usage_is_told_by_tenant_and_model(ledger: Ledger, reader: LedgerReader) -> None:
    """Rows are told apart by what is asked for, and add up to the same."""
    some = [event(), event(kind=UsageKind.CACHED), event(tenant="umbrella"), event(model="minilm")]
    ledger.record([recording(some)], NOON_MS)
    found = [(r.tenant, r.model, r.requests, r.cached, r.cost.total) for r in costs(reader)]
    assert found == [
        ("acme", "linear", 2, 1, 2_000_021),
        ("acme", "minilm", 1, 0, 1_000_011),
        ("umbrella", "linear", 1, 0, 1_000_011),
    ]
    (everything,) = costs(reader, by_tenant=False, by_model=False)
    assert (everything.requests, everything.cost.total) == (4, 4_000_043)
    assert [row.tenant for row in costs(reader, by_model=False)] == ["acme", "umbrella"]


def test_what_is_acknowledged_is_on_the_disk(path: Path) -> None:
    """The write-ahead log is synchronised at each commit (FULL is 2), not only now and then."""
    db = opened(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()


def test_a_period_ends_before_its_end(ledger: Ledger, reader: LedgerReader) -> None:
    """The second of `until` is another period's."""
    ledger.record([recording([event(time_ms=NOON_MS + 1000 * n) for n in range(4)])], NOON_MS)
    second = NOON_MS // 1000
    (row,) = reader.costs(second + 1, second + 3, "USD", by_tenant=False, by_model=False)
    assert row.requests == 2
    assert reader.first_second() == second
    assert reader.costs(0, second, "USD", by_tenant=True, by_model=True) == []


def test_a_batch_that_comes_again_changes_nothing(ledger: Ledger, reader: LedgerReader) -> None:
    """Its events are acknowledged and not booked; of one that overlaps, only what is new."""
    ledger.record([recording([event()] * 5)], NOON_MS)
    again, over = ledger.record([recording([event()] * 5), recording([event()] * 5, 3)], NOON_MS)
    assert (again.watermark, again.events, again.repeated) == (5, 0, 5)
    assert (over.watermark, over.events, over.repeated) == (7, 2, 3)
    assert costs(reader)[0].requests == 7
    assert reader.audit().sound


def test_a_batch_before_its_turn_is_not_stored(ledger: Ledger, reader: LedgerReader) -> None:
    """The answer says where to go on; nothing of it is stored."""
    (early,) = ledger.record([recording([event()], 5, oldest=1)], NOON_MS)
    assert (early.watermark, early.events, early.repeated) == (0, 0, 0)
    assert costs(reader) == []


def test_a_gap_that_stays_is_written_down(ledger: Ledger, reader: LedgerReader) -> None:
    """A source that has nothing older goes on, and the audit explains its watermark by the gap."""
    (found,) = ledger.record([recording([event()], 5, oldest=5)], NOON_MS)
    assert (found.watermark, found.lost) == (5, 4)
    assert reader.audit().sound


def test_sources_and_incarnations_count_for_themselves(ledger: Ledger, reader: LedgerReader) -> None:
    """The same sequence numbers of another process are other events."""
    batches = [recording([event()], source=s, incarnation=i) for s in "ab" for i in "xy"]
    assert [found.events for found in ledger.record(batches, NOON_MS)] == [1, 1, 1, 1]


def test_a_key_is_billed_once_over_sources(ledger: Ledger, reader: LedgerReader) -> None:
    """A retry that was executed elsewhere is on the waste account, without the call's price."""
    some = [event(b"request-1")]
    ledger.record([recording(some, source="a"), recording(some, source="b")], NOON_MS)
    (row,) = costs(reader)
    assert (row.requests, row.cost.total, row.wasted_requests, row.waste) == (1, 1_000_011, 1, 11)
    assert reader.audit().sound


def test_a_key_is_a_tenants_own(ledger: Ledger, reader: LedgerReader) -> None:
    """Two tenants who use the same key both pay."""
    ledger.record([recording([event(b"k"), event(b"k", tenant="umbrella")])], NOON_MS)
    assert [row.requests for row in costs(reader)] == [1, 1]


def test_requests_without_a_key_are_never_repetitions(ledger: Ledger, reader: LedgerReader) -> None:
    """Each is charged."""
    ledger.record([recording([event(b"")] * 3)], NOON_MS)
    assert costs(reader)[0].requests == 3


def test_keys_are_known_after_a_restart(ledger: Ledger, reader: LedgerReader, path: Path) -> None:
    """What was charged before is read from the file."""
    ledger.record([recording([event(key) for key in keys(range(100))])], NOON_MS)
    ledger.close()
    again = Ledger(path, BOOKS.all)
    (found,) = again.record([recording([event(key) for key in keys(range(150))], source="b")], NOON_MS)
    again.close()
    assert found.unpaid == 100


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger, reader: LedgerReader) -> None:
    """Watermark, entries and keys are undone together: what failed can be sent again, and is charged."""
    good = recording([event(b"k")])
    bad = replace(good, source="bad", message=None)  # type: ignore[arg-type]  # a column that must not be null
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record([good, bad], NOON_MS)
    assert costs(reader) == []
    (found,) = ledger.record([good], NOON_MS)
    assert (found.events, found.unpaid) == (1, 0)


def test_a_tenant_of_a_failed_transaction_is_forgotten(ledger: Ledger) -> None:
    """Its number is the next tenant's: remembered, one would be taken for the other."""
    bad = replace(recording([event(b"k", tenant="first")]), message=None)  # type: ignore[arg-type]  # must not be null
    with pytest.raises(sqlite3.IntegrityError):
        ledger.record([bad], NOON_MS)
    others = [recording([event(b"k", tenant=tenant)], source=tenant) for tenant in ("second", "first")]
    assert [found.unpaid for found in ledger.record(others, NOON_MS)] == [0, 0]


def test_a_hundred_answers_of_one_key_are_one_charge(ledger: Ledger, reader: LedgerReader) -> None:
    """One was executed, the others were coalesced with it or came from a cache, over two replicas."""
    kinds = [UsageKind.EXECUTED, *[UsageKind.COALESCED] * 49, *[UsageKind.CACHED] * 50]
    some = [event(b"key", digest=b"request", kind=kind) for kind in kinds]
    ledger.record([recording(some[::2], source="a"), recording(some[1::2], source="b")], NOON_MS)
    (row,) = costs(reader)
    assert (row.requests, row.cost.api, row.wasted_requests) == (1, 1_000_000, 99)


def test_keys_of_old_hours_are_dropped(ledger: Ledger, path: Path) -> None:
    """The edge's keys leave after a day and the oldest outbox's age, the clients' after 35 days and that."""
    hour = 3_600_000
    ledger.record([recording([event(b"edge"), event(b"client", digest=b"d")])], NOON_MS)
    assert ledger.tidy_keys(NOON_MS + 192 * hour) == 0
    assert ledger.tidy_keys(NOON_MS + 193 * hour) == 1
    assert ledger.tidy_keys(NOON_MS + 42 * 24 * hour) == 0
    assert ledger.tidy_keys(NOON_MS + 43 * 24 * hour) == 1


def test_a_price_change_holds_from_its_time_on(path: Path) -> None:
    """Events before it are charged by the earlier book, and each entry says which."""
    dear = PriceBook(2, "USD", NOON_MS, 0, 0, 0, 5_000_000, 0)
    ledger = Ledger(path, [*BOOKS.all, dear])
    ledger.record([recording([event(time_ms=NOON_MS - 1), event(time_ms=NOON_MS)])], NOON_MS)
    ledger.close()
    db = sqlite3.connect(path)
    found = db.execute("SELECT price_version, api FROM entries WHERE account = 1 ORDER BY 1").fetchall()
    db.close()
    assert found == [(1, 1_000_000), (2, 5_000_000)]


def test_a_version_never_changes(path: Path) -> None:
    """Other prices under a known version are refused; a book that is left out is still known."""
    Ledger(path, BOOKS.all).close()
    with pytest.raises(LedgerUnusable, match="version 1"):
        Ledger(path, [replace(DEFAULT_BOOK, api_call=5)])
    with pytest.raises(LedgerUnusable, match="currency"):
        Ledger(path, [replace(DEFAULT_BOOK, version=2, currency="EUR")])
    later = Ledger(path, [replace(DEFAULT_BOOK, version=2, effective_ms=NOON_MS)])
    assert [book.version for book in later.books.all] == [1, 2]
    later.close()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_ledger_is_left_alone(path: Path, content: bytes) -> None:
    """It is refused, and neither overwritten nor put aside: it may be the ledger, damaged."""
    path.write_bytes(content)
    with pytest.raises(LedgerUnusable):
        Ledger(path, BOOKS.all)
    assert path.read_bytes() == content


def test_a_ledger_of_another_version_is_refused(path: Path) -> None:
    """A newer Headrace wrote it: this one does not know what its columns mean."""
    Ledger(path, BOOKS.all).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerUnusable, match="version 99"):
        Ledger(path, BOOKS.all)


def test_a_ledger_out_of_balance_is_seen(ledger: Ledger, reader: LedgerReader, path: Path) -> None:
    """The audit names what doesn't add up: an amount, a missing segment."""
    ledger.record([recording([event()] * 3)], NOON_MS)
    ledger.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE entries SET compute = compute + 1 WHERE account = 1")
    db.execute("UPDATE segments SET events = 2")
    db.commit()
    db.close()
    audit = reader.audit()
    assert not audit.sound
    assert (audit.unbalanced, audit.unexplained, audit.events, audit.booked) == (1, 1, 2, 3)
