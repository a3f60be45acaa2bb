"""The store's file: its tables, and how it is opened."""

import sqlite3
from pathlib import Path

SCHEMA_VERSION = 2
PAGE_BYTES = 4096
CHECKPOINT_PAGES = 1000
"""The log moves into the file when it has so many pages, 4 MiB."""

_SCHEMA = """
CREATE TABLE traces (
    id INTEGER PRIMARY KEY,
    trace_id BLOB NOT NULL UNIQUE,
    seen_ns INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    rooted INTEGER NOT NULL,
    root_start_ns INTEGER NOT NULL,
    root_name TEXT NOT NULL,
    root_service TEXT NOT NULL,
    services TEXT NOT NULL,
    tenants TEXT NOT NULL DEFAULT ''
);
CREATE INDEX traces_by_start ON traces (start_ns);
CREATE INDEX traces_by_tenants ON traces (tenants, start_ns);
-- With rows: WITHOUT ROWID puts rows of more than a quarter page on a page of their own.
CREATE TABLE spans (
    trace INTEGER NOT NULL,
    span_id BLOB NOT NULL,
    parent_id BLOB NOT NULL,
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    end_ns INTEGER NOT NULL,
    status INTEGER NOT NULL,
    status_message TEXT NOT NULL,
    attributes TEXT NOT NULL,
    links TEXT NOT NULL,
    UNIQUE (trace, span_id)
);
CREATE TABLE links (
    trace INTEGER NOT NULL,
    span_id BLOB NOT NULL,
    to_trace BLOB NOT NULL,
    to_span BLOB NOT NULL,
    PRIMARY KEY (trace, span_id, to_trace, to_span)
) WITHOUT ROWID;
CREATE INDEX links_by_target ON links (to_trace);
"""

_FROM_VERSION_1 = """
ALTER TABLE traces ADD COLUMN tenants TEXT NOT NULL DEFAULT '';
CREATE INDEX traces_by_tenants ON traces (tenants, start_ns);
"""
"""Traces of before belong to nobody: they are the operators' to see."""


def opened(path: Path, wal_bytes: int) -> sqlite3.Connection:
    """The file at `path`, created when there is none, with our tables in it.

    A file that is no database, is damaged, or is of another version is renamed
    to `<name>.unreadable`, in place of an earlier one, and a new one begun.
    """
    try:
        return _with_tables(path, wal_bytes)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
    except _OtherVersion:
        pass
    path.replace(path.with_name(path.name + ".unreadable"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return _with_tables(path, wal_bytes)


class _OtherVersion(Exception):
    """The file was written by another version of Headrace."""


def _with_tables(path: Path, wal_bytes: int) -> sqlite3.Connection:
    path.touch(mode=0o600)
    # Autocommit: transactions begin where the code says so. Opened before the
    # thread starts that uses it, hence the check is off.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, 1, SCHEMA_VERSION):
            raise _OtherVersion
        db.executescript(
            # Lost power may lose the last seconds; a killed process loses nothing.
            f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL; "
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
            f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA journal_size_limit = {wal_bytes};"
        )
        if version != SCHEMA_VERSION:
            steps = _FROM_VERSION_1 if version else _SCHEMA
            db.executescript(f"BEGIN; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db
