"""Where the edge's figures are kept: by minute, in a file beside the ledger.

They are no money: a power failure may take the last ones, and a file that is
damaged is put aside for a new one. Not thread-safe.
"""

import sqlite3
from pathlib import Path

import structlog

from headrace.metering.core.edge import Outcome
from headrace.metering.core.edge_book import Counts
from headrace.metering.core.joining import Compared, Found
from headrace.metering.usage import EdgeComparison, EdgeCount, Question

SCHEMA_VERSION = 1
NO_END = 2**62
MAX_ROWS = 1_000_000
"""Of each table; the oldest minutes go first."""

_SCHEMA = f"""
BEGIN;
CREATE TABLE requests (
    minute INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    outcome INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    received INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (minute, tenant, outcome)
) WITHOUT ROWID;
CREATE TABLE comparisons (
    minute INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    matched INTEGER NOT NULL,
    bytes_differ INTEGER NOT NULL,
    edge_bytes INTEGER NOT NULL,
    ledger_bytes INTEGER NOT NULL,
    edge_only INTEGER NOT NULL,
    ledger_only INTEGER NOT NULL,
    PRIMARY KEY (minute, tenant, model)
) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
_COUNT = """
INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
requests = requests + excluded.requests, received = received + excluded.received, sent = sent + excluded.sent
"""
_COMPARE = """
INSERT INTO comparisons VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
matched = matched + excluded.matched, bytes_differ = bytes_differ + excluded.bytes_differ,
edge_bytes = edge_bytes + excluded.edge_bytes, ledger_bytes = ledger_bytes + excluded.ledger_bytes,
edge_only = edge_only + excluded.edge_only, ledger_only = ledger_only + excluded.ledger_only
"""
_COUNTS = """
SELECT iif(:by_tenant, tenant, '') AS t, outcome, sum(requests), sum(received), sum(sent) FROM requests
WHERE minute >= :since AND minute < :until AND (:only IS NULL OR tenant = :only) GROUP BY t, outcome ORDER BY t, outcome
"""
_COMPARISONS = """
SELECT iif(:by_tenant, tenant, '') AS t, iif(:by_model, model, '') AS m, sum(matched), sum(bytes_differ), sum(edge_bytes),
    sum(ledger_bytes), sum(edge_only), sum(ledger_only) FROM comparisons
WHERE minute >= :since AND minute < :until AND (:only IS NULL OR tenant = :only) GROUP BY t, m ORDER BY t, m
"""

log = structlog.get_logger()


class EdgeStore:
    """Adds what was counted, sums it up again."""

    def __init__(self, path: Path, max_rows: int = MAX_ROWS) -> None:
        """Opens or makes the file; raises OSError when it can't be reached."""
        self._max_rows = max_rows
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = _opened(path)
        except sqlite3.DatabaseError as error:
            aside = path.with_name(path.name + ".damaged")
            log.warning("the edge's figures can't be read: they begin anew", why=str(error), kept=str(aside))
            path.replace(aside)
            self._db = _opened(path)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def add(self, counts: Counts, found: Found) -> None:
        """Adds what was counted and compared; raises `sqlite3.Error`, and then nothing was added."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_COUNT, ((*place, *values) for place, values in counts.items()))
            self._db.executemany(
                _COMPARE,
                ((*place, *_values(compared)) for place, compared in found.items()),
            )

    def tidy(self) -> None:
        """Drops the oldest minutes where there are too many rows."""
        with self._db:
            for table in ("requests", "comparisons"):
                oldest = f"SELECT minute FROM {table} ORDER BY minute DESC LIMIT 1 OFFSET ?"  # noqa: S608 - our own names
                self._db.execute(f"DELETE FROM {table} WHERE minute <= ({oldest})", (self._max_rows,))  # noqa: S608

    def counts(self, asked: Question) -> list[EdgeCount]:
        """Requests of the whole minutes of the period, by outcome."""
        rows = self._db.execute(_COUNTS, _parameters(asked))
        return [EdgeCount(tenant, Outcome(outcome), *sums) for tenant, outcome, *sums in rows]

    def comparisons(self, asked: Question) -> list[EdgeComparison]:
        """What was compared in those minutes."""
        return [EdgeComparison(*row) for row in self._db.execute(_COMPARISONS, _parameters(asked))]


def _parameters(asked: Question) -> dict[str, int | str | None]:
    return {
        "since": asked.since_s or 0,
        "until": NO_END if asked.until_s is None else asked.until_s,
        "by_tenant": asked.by_tenant,
        "by_model": asked.by_model,
        "only": asked.only,
    }


def _values(compared: Compared) -> tuple[int, ...]:
    return (
        compared.matched,
        compared.bytes_differ,
        compared.edge_bytes,
        compared.ledger_bytes,
        compared.edge_only,
        compared.ledger_only,
    )


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    # Opened before the thread starts that uses it, hence the check is off.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"{path} has version {version}, this is {SCHEMA_VERSION}")
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        if version == 0:
            db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db
