"""The ledger under everything that may happen to it, against a model of a few lines."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace.metering.core.billing import KeyState, judged
from headrace.metering.core.charges import cost_of
from headrace.metering.core.prices import DEFAULT_BOOK
from headrace.metering.ledger import Ledger, Recording
from headrace.metering.reader import LedgerReader
from headrace.metering.usage import UsageEvent, UsageKind
from tests.fakes.metering import BOOKS, NOON_MS, event, keys, recording

SOURCES = ("a", "b")
HOUR_MS = 3_600_000

usage = st.builds(
    event,
    st.sampled_from([b"", *keys(range(6))]),
    tenant=st.sampled_from(["acme", "umbrella"]),
    kind=st.sampled_from(list(UsageKind)),
    digest=st.sampled_from([b"", b"", b"x", b"y"]),
    cpu_ns=st.integers(0, 10**9),
    time_ms=st.integers(0, 3).map(lambda hours: NOON_MS + hours * HOUR_MS),
)
batches = st.lists(usage, min_size=1, max_size=6)


class LedgerMachine(RuleBasedStateMachine):
    """Sources write outboxes; batches of them reach the ledger in any order, again and again, through crashes."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "ledger.sqlite3"
        self._ledger = Ledger(self._path, BOOKS.all)
        self._written: dict[str, list[UsageEvent]] = {source: [] for source in SOURCES}
        self._recorded = dict.fromkeys(SOURCES, 0)
        self._keys: dict[tuple[str, bytes, bool], KeyState] = {}
        self._owed: dict[str, int] = {}

    @rule(source=st.sampled_from(SOURCES), some=batches)
    def write(self, source: str, some: list[UsageEvent]) -> None:
        """A process uses something and writes it down."""
        self._written[source] += some

    @rule(source=st.sampled_from(SOURCES), first=st.integers(1, 40), count=st.integers(1, 12))
    def send(self, source: str, first: int, count: int) -> None:
        """Some part of an outbox comes: new, known, overlapping or too early."""
        self._send([(source, first, count)])

    @rule(
        parts=st.lists(
            st.tuples(st.sampled_from(SOURCES), st.integers(1, 40), st.integers(1, 12)), max_size=4
        )
    )
    def send_together(self, parts: list[tuple[str, int, int]]) -> None:
        """Batches of several streams share a transaction."""
        self._send(parts)

    @rule(source=st.sampled_from(SOURCES))
    def replay(self, source: str) -> None:
        """A whole outbox comes once more."""
        self._send([(source, 1, len(self._written[source]))])

    @rule(source=st.sampled_from(SOURCES), count=st.integers(1, 12))
    def fail(self, source: str, count: int) -> None:
        """A transaction is undone at its last statement; the same batch may come again."""
        good = self._part(source, self._recorded[source] + 1, count)
        if good:
            bad = Recording("bad", "x", 1, 1, good.batch, None)  # type: ignore[arg-type]  # must not be null
            with pytest.raises(sqlite3.IntegrityError):
                self._ledger.record([good, bad], NOON_MS)

    @rule()
    def crash(self) -> None:
        """The process ends without a word, another one begins."""
        self._ledger.close()
        self._ledger = Ledger(self._path, BOOKS.all)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """Every amount sums to zero, every event is booked once, tenants owe what the model says."""
        if not hasattr(self, "_path"):
            return
        reader = LedgerReader(self._path)
        audit = reader.audit()
        assert audit.sound
        assert audit.events == sum(self._recorded.values())
        rows = reader.costs(0, 2**62, "USD", by_tenant=True, by_model=False)
        assert {row.tenant: row.cost.total for row in rows if row.cost.total} == self._owed
        reader.close()

    def teardown(self) -> None:
        if hasattr(self, "_path"):
            self._ledger.close()
            self._folder.cleanup()

    def _send(self, parts: list[tuple[str, int, int]]) -> None:
        batches = [part for part in (self._part(*part) for part in parts) if part]
        for batch, found in zip(batches, self._ledger.record(batches, NOON_MS), strict=True):
            last = batch.first + len(batch.batch) - 1
            if batch.first <= self._recorded[batch.source] + 1:
                self._book(batch.source, last)
            assert found.watermark == self._recorded[batch.source]

    def _part(self, source: str, first: int, count: int) -> Recording | None:
        some = self._written[source][first - 1 : first - 1 + count]
        return recording(some, first, source=source) if some else None

    def _book(self, source: str, last: int) -> None:
        for one in self._written[source][self._recorded[source] : last]:
            if self._charged(one) and (total := cost_of(one, DEFAULT_BOOK).total):
                self._owed[one.tenant] = self._owed.get(one.tenant, 0) + total
        self._recorded[source] = max(self._recorded[source], last)

    def _charged(self, one: UsageEvent) -> bool:
        if not one.billing_key:
            return True
        key = (one.tenant, one.billing_key, bool(one.digest))
        verdict = judged(one.kind, one.digest, self._keys.get(key))
        if verdict.state:
            self._keys[key] = verdict.state
        return verdict.charged


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLedger = LedgerMachine.TestCase
