"""Callers who keep what they were told of every answer, and what the ledger has of the same requests."""

import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import numpy as np

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.metering.core.prices import PriceBook, PriceBooks
from headrace.metering.core.pricing import priced
from headrace.metering.core.rows import hashed
from headrace.metering.reader import Audit, LedgerReader
from headrace.metering.usage import CostRow, UsageKind
from headrace.metering.v1.usage_pb2 import UsageBatch
from headrace.metering.wire import batch_from
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.waiting import eventually

CURRENCY = "USD"
NO_END = 2**62
SETTLED_S = 60.0

class Answer(NamedTuple):
    """What a caller knows of one answer. `cost` is in nano-units, None where it was told none."""

    tenant: str
    request_id: str
    cost: int | None
    level: str

    @property
    def cached(self) -> bool:
        """Whether a cache had it."""
        return self.level not in ("", "miss")


class Event(NamedTuple):
    """One event in the ledger. `paid` is what its tenant pays, in nano-units."""

    tenant: str
    model: str
    key: bytes
    kind: UsageKind
    charged: bool
    paid: int


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
        db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            books = PriceBooks(PriceBook(*row) for row in db.execute(_BOOKS))
            segments = db.execute("SELECT skipped, charged, batch FROM segments ORDER BY id").fetchall()
        finally:
            db.close()
        found = (event for segment in segments for event in _events(*segment, books))
        return [event for event in found if event.tenant in tenants]

    @contextmanager
    def _reader(self) -> Iterator[LedgerReader]:
        reader = LedgerReader(self._path)
        try:
            yield reader
        finally:
            reader.close()


_BOOKS = """
SELECT version, currency, effective_ms, gpu_hour, cpu_hour, storage_gb_month, api_call, network_gb FROM price_books
"""


def _events(skipped: int, charged: bytes, data: bytes, books: PriceBooks) -> Iterator[Event]:
    batch = batch_from(UsageBatch.FromString(data)).after(skipped)
    flags = np.unpackbits(np.frombuffer(charged, np.uint8), count=len(batch)).astype(np.bool_)
    paid = priced(batch, books, flags).paid.sum(axis=1).tolist()
    for place in range(len(batch)):
        tenant, model, _ = batch.names[batch.name[place]]
        kind = UsageKind(int(batch.kind[place]))
        yield Event(tenant, model, batch.billing_key[place].tobytes(), kind, bool(flags[place]), paid[place])


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
    """Events that the replicas hold and metering has not confirmed."""
    shown = (mesh.metrics(address) for address in mesh.services["inference"])
    found = (re.search(r"^headrace_usage_pending_events(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE) for text in shown)
    return sum(int(float(match[1])) for match in found if match)


def _nothing_waits(mesh: Mesh) -> bool:
    try:
        return len(outboxes(mesh.state_dir)) == len(mesh.services["inference"]) and pending(mesh) == 0
    except httpx.TransportError:  # a replica that starts
        return False


def asked(stub: GRPCInferenceServiceStub, request: ModelInferRequest, token: str, *more: tuple[str, str]) -> "grpc.CallFuture[ModelInferResponse]":
    """The call, under way."""
    return stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=(*bearer(token), *more))


def answer_of(tenant: str, call: "grpc.CallFuture[ModelInferResponse]") -> Answer:
    """What the ended call told; raises its error when it failed."""
    call.result()
    told = {key: str(value) for key, value in (*call.initial_metadata(), *call.trailing_metadata())}
    return _answer(tenant, told.get)


def answer_from(tenant: str, response: httpx.Response) -> Answer:
    """What the response told; raises when it is no answer."""
    response.raise_for_status()
    return _answer(tenant, response.headers.get)


def _answer(tenant: str, told: Callable[[str], str | None]) -> Answer:
    cost = told("headrace-cost-nanos")
    return Answer(
        tenant, told("x-request-id") or "", None if cost is None else int(cost), told("headrace-cache") or ""
    )


def rest_body(row: Sequence[float]) -> dict[str, object]:
    """A request of one row of `linear`, for REST."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": list(row)}]}


@dataclass(frozen=True)
class Tenant:
    """Who asks, with a token that may infer."""

    name: str
    token: str


def tenant(mesh: Mesh, name: str) -> Tenant:
    """A tenant that nobody else of this session is."""
    return Tenant(name, mesh.token(name, "infer"))


def priced_now(mesh: Mesh, request: ModelInferRequest, token: str) -> None:
    """Waits until an answer tells its cost on every replica: prices come with the stream to metering."""
    seen: set[str] = set()

    def told() -> bool:
        call = asked(stub, request, token)
        call.result()
        metadata = {key: str(value) for key, value in call.trailing_metadata()}
        if "headrace-cost-nanos" in metadata:
            seen.add(metadata["headrace-replica"])
        return len(seen) == len(mesh.services["inference"])

    with mesh.inference() as stub:
        eventually(told, "prices known on every replica", SETTLED_S)


class Load:
    """Threads that ask until the end of the block, each on a connection of its own.

    A thread has `window` calls in flight. `answers` has every answer, `failures`
    each call that had none.
    """

    def __init__(
        self,
        mesh: Mesh,
        tenants: Sequence[Tenant],
        requests: Sequence[ModelInferRequest],
        *,
        threads: int = 4,
        window: int = 4,
        rest: Sequence[tuple[str, dict[str, object]]] = (),
    ) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._mesh = mesh
        self._tenants = tenants
        self._requests = requests
        self._window = window
        self._rest = rest
        self._over = threading.Event()
        jobs = [self._grpc] * threads + [self._http] * (2 if rest else 0)
        self._threads = [threading.Thread(target=job, args=(number,)) for number, job in enumerate(jobs)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int, within_s: float = 30.0) -> None:
        """Waits for so many answers from now on."""
        wanted = len(self.answers) + count
        eventually(lambda: len(self.answers) >= wanted or None, f"{count} more answers", within_s)

    def _grpc(self, number: int) -> None:
        caller = self._tenants[number % len(self._tenants)]
        turn = number
        with self._mesh.inference() as stub:
            while not self._over.is_set():
                calls = []
                for _ in range(self._window):
                    turn += 1
                    calls.append(asked(stub, self._requests[turn % len(self._requests)], caller.token))
                for call in calls:
                    self._ended(lambda call=call: answer_of(caller.name, call))

    def _http(self, number: int) -> None:
        caller = self._tenants[number % len(self._tenants)]
        with self._mesh.http(caller.token) as client:
            while not self._over.is_set():
                for path, body in self._rest:
                    self._ended(lambda path=path, body=body: answer_from(caller.name, client.post(path, json=body)))

    def _ended(self, answer: Callable[[], Answer]) -> None:
        try:
            self.answers.append(answer())
        except (grpc.RpcError, httpx.HTTPError) as error:
            self.failures.append(str(error))


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)


def healthy(mesh: Mesh) -> bool:
    """Whether every process of the mesh is."""
    return all(one["state"] == "healthy" for one in mesh.status()["processes"])
