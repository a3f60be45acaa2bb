"""The ledger's file: its tables, and how it is opened."""

import sqlite3
from pathlib import Path

from headrace.runtime.start import StartFailed

SCHEMA_VERSION = 1
PAGE_BYTES = 4096
CHECKPOINT_PAGES = 4096
"""The log moves into the file when it has so many pages, 16 MiB."""
WAL_BYTES = 64 * 1024 * 1024

SCHEMA = """
-- What was recorded, as it came: never changed, never deleted by the service.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    events INTEGER NOT NULL,
    -- Events at the batch's beginning that an earlier segment has.
    skipped INTEGER NOT NULL,
    recorded_ms INTEGER NOT NULL,
    -- A bit for each event, those skipped left out: whether its key allowed to charge it.
    charged BLOB NOT NULL,
    -- A UsageBatch.
    batch BLOB NOT NULL
);
-- Who owes what for it: for each segment the rows of every column from `events` on sum to zero.
CREATE TABLE entries (
    segment INTEGER NOT NULL,
    account INTEGER NOT NULL,
    second INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    price_version INTEGER NOT NULL,
    events INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    compute INTEGER NOT NULL,
    network INTEGER NOT NULL,
    storage INTEGER NOT NULL,
    api INTEGER NOT NULL
);
CREATE INDEX entries_by_second ON entries (second);
CREATE TABLE watermarks (
    source TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (source, incarnation)
) WITHOUT ROWID;
-- Events that were lost before they came: a power failure, a ledger put back from a backup.
CREATE TABLE gaps (
    source TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    events INTEGER NOT NULL
);
CREATE TABLE price_books (
    version INTEGER PRIMARY KEY,
    currency TEXT NOT NULL,
    effective_ms INTEGER NOT NULL,
    gpu_hour INTEGER NOT NULL,
    cpu_hour INTEGER NOT NULL,
    storage_gb_month INTEGER NOT NULL,
    api_call INTEGER NOT NULL,
    network_gb INTEGER NOT NULL
);
-- Numbers for tenants: the first four bytes of a token, the other 16 are the billing key.
CREATE TABLE tenants (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL UNIQUE);
-- Tokens that were taken, by period of their events' time: as their batches came ...
CREATE TABLE key_batches (
    id INTEGER PRIMARY KEY,
    family TEXT NOT NULL,
    period INTEGER NOT NULL,
    tokens BLOB NOT NULL,
    -- 16 bytes for each, or empty when all of them are zero.
    digests BLOB NOT NULL
);
CREATE INDEX key_batches_by_period ON key_batches (family, period);
-- ... and sorted, in runs: a row holds the tokens from `first` on.
CREATE TABLE key_runs (
    family TEXT NOT NULL,
    period INTEGER NOT NULL,
    run INTEGER NOT NULL,
    first BLOB NOT NULL,
    tokens BLOB NOT NULL,
    digests BLOB NOT NULL,
    UNIQUE (family, period, run, first)
);
-- How often the request of a token was executed again for free.
CREATE TABLE key_states (
    family TEXT NOT NULL,
    period INTEGER NOT NULL,
    token BLOB NOT NULL,
    free INTEGER NOT NULL,
    PRIMARY KEY (family, period, token)
) WITHOUT ROWID;
"""


_NEXT = "put it aside, restore a backup of it, or name another one with HEADRACE_METERING_LEDGER"


class LedgerUnusable(StartFailed):
    """The file can't be this service's ledger; the text says why. It is never put aside or overwritten."""


def opened(path: Path) -> sqlite3.Connection:
    """The ledger at `path`, created when there is none.

    Raises `LedgerUnusable` for a file that is damaged, is something else, was
    written by another version, or can't be reached.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        # Autocommit: transactions begin where the code says so. Opened before the
        # thread starts that uses it, hence the check is off.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise LedgerUnusable(f"the ledger {path} can't be opened: {error}; {_NEXT}") from None
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise LedgerUnusable(
                f"the ledger {path} has version {version}, this program writes {SCHEMA_VERSION}; {_NEXT}"
            )
        db.executescript(
            # FULL: what is acknowledged survives a power failure.
            f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
            f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA journal_size_limit = {WAL_BYTES}; PRAGMA cache_size = -65536;"
        )
        if version == 0:
            db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.DatabaseError as error:
        db.close()
        raise LedgerUnusable(f"{path} is no ledger that can be used: {error}; {_NEXT}") from error
    except BaseException:
        db.close()
        raise
    return db
