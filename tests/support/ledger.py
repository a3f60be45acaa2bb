"""What a mesh's ledger has, and what still waits to get there."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np

from headrace.metering.core.billing import ANSWERED
from headrace.metering.core.prices import PriceBook, PriceBooks
from headrace.metering.core.pricing import priced
from headrace.metering.core.rows import hashed
from headrace.metering.reader import Audit, LedgerReader
from headrace.metering.usage import CostRow, UsageKind
from headrace.metering.v1.usage_pb2 import UsageBatch
from headrace.metering.wire import batch_from
from tests.support.mesh import Mesh
from tests.support.waiting import eventually

CURRENCY = "USD"
NO_END = 2**62
SETTLED_S = 60.0

_BOOKS = """
SELECT version, currency, effective_ms, gpu_hour, cpu_hour, storage_gb_month, api_call, network_gb FROM price_books
"""


class Event(NamedTuple):
    """One event in the ledger. `paid` is what its tenant pays, `price` what it would, were it charged; nano-units.

    `time_ms` is when it was recorded, since 1970, and `rows` what it had of its batch.
    """

    tenant: str
    model: str
    key: bytes
    kind: UsageKind
    charged: bool
    paid: int
    price: int
    time_ms: int
    rows: int

    @property
    def answered(self) -> bool:
        """Whether it stands for an answer."""
        return self.kind in ANSWERED


class Ledger:
    """A ledger's file, read beside whoever writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def costs(self) -> dict[tuple[str, str], CostRow]:
        """The entries' sums by tenant and model."""
        with self._reader() as reader:
            rows = reader.costs(0, NO_END, CURRENCY, by_tenant=True, by_model=True)
        return {(row.tenant, row.model): row for row in rows}

    def audit(self) -> Audit:
        """Whether it adds up."""
        with self._reader() as reader:
            return reader.audit()

    def events(self, *tenants: str) -> list[Event]:
        """Every event of the tenants, from the segments themselves."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as db:
            books = PriceBooks(PriceBook(*row) for row in db.execute(_BOOKS))
            segments = db.execute("SELECT skipped, charged, batch FROM segments ORDER BY id").fetchall()
        found = (event for skipped, flags, data in segments for event in _events(skipped, flags, data, books))
        return [event for event in found if event.tenant in tenants]

    @contextmanager
    def _reader(self) -> Iterator[LedgerReader]:
        with closing(LedgerReader(self._path)) as reader:
            yield reader


def _events(skipped: int, charged: bytes, data: bytes, books: PriceBooks) -> Iterator[Event]:
    batch = batch_from(UsageBatch.FromString(data)).after(skipped)
    flags = np.unpackbits(np.frombuffer(charged, np.uint8), count=len(batch)).astype(np.bool_)
    paid = priced(batch, books, flags).paid.sum(axis=1).tolist()
    price = priced(batch, books, np.ones_like(flags)).paid.sum(axis=1).tolist()
    for place in range(len(batch)):
        tenant, model, _ = batch.names[batch.name[place]]
        kind = UsageKind(int(batch.kind[place]))
        key = batch.billing_key[place].tobytes()
        when, rows = int(batch.time_ms[place]), int(batch.rows[place])
        yield Event(tenant, model, key, kind, bool(flags[place]), paid[place], price[place], when, rows)


def ledger_of(mesh: Mesh) -> Ledger:
    """The mesh's ledger."""
    return Ledger(mesh.state_dir / "metering" / "ledger.sqlite3")


def edge_key(request_id: str) -> bytes:
    """What the ledger has of a request that came without an idempotency key."""
    return hashed(b"e" + request_id.encode())


def settled(mesh: Mesh, within_s: float = SETTLED_S) -> Ledger:
    """The ledger, as soon as no outbox holds an event that it has not: no replica's, no dead one's."""
    eventually(lambda: _nothing_waits(mesh), "every outbox drained", within_s)
    return ledger_of(mesh)


def outboxes(state_dir: Path) -> list[str]:
    """The outboxes' directories."""
    root = state_dir / "outbox"
    return sorted(path.name for path in root.iterdir() if path.name[0] != ".") if root.is_dir() else []


def pending(mesh: Mesh) -> int:
    """Events that the replicas hold and metering has not confirmed; raises LookupError when one does not tell."""
    return sum(_pending(mesh.metrics(address)) for address in mesh.services["inference"])


def _pending(metrics: str) -> int:
    found = re.search(r"^headrace_usage_pending_events(?:\{[^}]*\})? (\S+)$", metrics, re.MULTILINE)
    if found is None:
        raise LookupError("the replica has no outbox yet")
    return int(float(found[1]))


def _nothing_waits(mesh: Mesh) -> bool:
    try:
        return len(outboxes(mesh.state_dir)) == len(mesh.services["inference"]) and pending(mesh) == 0
    except (httpx.TransportError, LookupError):  # a replica that starts
        return False
