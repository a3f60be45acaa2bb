"""The ledger: what was used, who pays for it, and how far each source is recorded.

Segment, entries, billing keys and watermark of a batch are one transaction:
after a crash at any point all of them are there or none. Not thread-safe:
whoever opens it is the only one to write it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from headrace.metering.core.batch import Batch, Flags, Ints
from headrace.metering.core.entries import Entry, entries_of
from headrace.metering.core.prices import PriceBook, PriceBooks
from headrace.metering.core.pricing import Priced, priced
from headrace.metering.core.sequence import placed
from headrace.metering.keys import KeyIndex
from headrace.metering.schema import LedgerUnusable, opened

OUTBOX_HOURS = 7 * 24
"""How old an event may be when it comes, for its billing key to be known still."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A batch that its source wants recorded; `message` is it as it came, a serialised UsageBatch."""

    source: str
    incarnation: str
    first: int
    oldest: int
    batch: Batch
    message: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a recording: all up to `watermark` is stored, `events` of it newly.

    `repeated` events were stored before, `lost` ones will never come, and
    `unpaid` new ones are on the waste account. `paid` is what tenants pay for the
    new ones, in nano-units of each currency.
    """

    watermark: int
    events: int = 0
    repeated: int = 0
    lost: int = 0
    unpaid: int = 0
    paid: tuple[tuple[str, int], ...] = ()


class Ledger:
    """Writes. `reader.py` reads, beside it."""

    def __init__(self, path: Path, books: Iterable[PriceBook]) -> None:
        """Opens or creates the file and adds the price books to those it knows.

        Raises `LedgerUnusable` for a file that can't be used, and for a book
        that differs from the known one of its version.
        """
        self._db = opened(path)
        try:
            self.books = self._with_books(list(books))
            self._keys = KeyIndex(self._db)
            self._tenants: dict[str, int] = dict(
                self._db.execute("SELECT tenant, id FROM tenants").fetchall()
            )
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Moves the log into the file and closes it."""
        self._db.close()

    def record(self, recordings: Sequence[Recording], now_ms: int) -> list[Recorded]:
        """Records the batches in one transaction, durably when it returns.

        Raises `sqlite3.Error`, and then none of them is recorded.
        """
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                return [self._record(recording, now_ms) for recording in recordings]
        except BaseException:
            self._forget_unwritten()
            raise

    def tidy_keys(self, now_ms: int) -> int:
        """Sorts billing keys of times that have passed and drops those that can't come again; says how many periods."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                return self._keys.tidy(now_ms, OUTBOX_HOURS)
        except BaseException:
            self._forget_unwritten()
            raise

    def _record(self, recording: Recording, now_ms: int) -> Recorded:
        watermark = self._watermark(recording)
        place = placed(watermark, recording.first, recording.oldest, len(recording.batch))
        if not place.stored:
            return Recorded(watermark, repeated=place.skip if recording.first <= watermark else 0)
        batch = recording.batch.after(place.skip)
        unbilled = self._keys.judge(batch, self._numbers(batch))
        costs = priced(batch, self.books, unbilled)
        segment = self._insert_segment(recording, place.skip, unbilled, now_ms)
        self._insert_entries(segment, entries_of(batch, costs))
        if place.lost:
            gap = (recording.source, recording.incarnation, watermark + 1, place.lost)
            self._db.execute("INSERT INTO gaps VALUES (?, ?, ?, ?)", gap)
        last = recording.first + len(recording.batch) - 1
        self._db.execute(
            "INSERT OR REPLACE INTO watermarks VALUES (?, ?, ?)",
            (recording.source, recording.incarnation, last),
        )
        unpaid = len(batch) - int(np.count_nonzero(costs.charged))
        return Recorded(last, len(batch), place.skip, place.lost, unpaid, self._paid(costs))

    def _paid(self, costs: Priced) -> tuple[tuple[str, int], ...]:
        sums: dict[str, int] = {}
        for version in np.unique(costs.version).tolist():
            book = self.books.get(version)
            assert book is not None  # `priced` took it
            nanos = int(costs.paid[costs.version == version].sum())
            sums[book.currency] = sums.get(book.currency, 0) + nanos
        return tuple(sums.items())

    def _watermark(self, recording: Recording) -> int:
        found = self._db.execute(
            "SELECT sequence FROM watermarks WHERE source = ? AND incarnation = ?",
            (recording.source, recording.incarnation),
        ).fetchone()
        return found[0] if found else 0

    def _insert_segment(self, recording: Recording, skipped: int, charged: Flags, now_ms: int) -> int:
        cursor = self._db.execute(
            "INSERT INTO segments VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                recording.source,
                recording.incarnation,
                recording.first + skipped,
                len(charged),
                skipped,
                now_ms,
                np.packbits(charged).tobytes(),
                recording.message,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _insert_entries(self, segment: int, entries: Iterable[Entry]) -> None:
        self._db.executemany(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((segment, *entry) for entry in entries),
        )

    def _numbers(self, batch: Batch) -> Ints:
        """Each event's tenant, as a number."""
        return np.array([self._number(tenant) for tenant, _, _ in batch.names], np.int64)[batch.name]

    def _number(self, tenant: str) -> int:
        number = self._tenants.get(tenant)
        if number is None:
            number = self._db.execute("INSERT INTO tenants VALUES (NULL, ?)", (tenant,)).lastrowid
            assert number is not None
            self._tenants[tenant] = number
        return number

    def _forget_unwritten(self) -> None:
        """What is remembered must be what is in the file."""
        self._keys.reload()
        self._tenants = dict(self._db.execute("SELECT tenant, id FROM tenants").fetchall())

    def _with_books(self, books: Sequence[PriceBook]) -> PriceBooks:
        names = [field.name for field in fields(PriceBook)]
        rows = self._db.execute(f"SELECT {', '.join(names)} FROM price_books")  # noqa: S608 - our own names
        known = {book.version: book for book in (PriceBook(*row) for row in rows)}
        for book in books:
            if known.setdefault(book.version, book) != book:
                raise LedgerUnusable(
                    f"version {book.version} of the price book differs from the one that the ledger was "
                    "kept by: give changed prices a version of their own"
                )
        try:
            found = PriceBooks(known.values())
        except ValueError as error:
            raise LedgerUnusable(f"{error}, those that the ledger was kept by included") from None
        values = [[getattr(book, name) for name in names] for book in books]
        self._db.executemany("INSERT OR IGNORE INTO price_books VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return found
