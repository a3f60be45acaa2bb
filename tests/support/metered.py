"""Callers who keep what they were told of every answer."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import grpc
import httpx

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.v1.process_pb2 import Process, ProcessState
from headrace.local.v1.supervisor_service_pb2 import ListRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.waiting import eventually

PRICED_S = 60.0


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


def asked(
    stub: GRPCInferenceServiceStub, request: ModelInferRequest, token: str, *more: tuple[str, str]
) -> "grpc.CallFuture[ModelInferResponse]":
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


def _posted(client: httpx.Client, tenant: str, path: str, body: dict[str, object]) -> Answer:
    return answer_from(tenant, client.post(path, json=body))


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
        eventually(told, "prices known on every replica", PRICED_S)


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
                    self._ended(partial(answer_of, caller.name, call))

    def _http(self, number: int) -> None:
        caller = self._tenants[number % len(self._tenants)]
        with self._mesh.http(caller.token) as client:
            while not self._over.is_set():
                for path, body in self._rest:
                    self._ended(partial(_posted, client, caller.name, path, body))

    def _ended(self, answer: Callable[[], Answer]) -> None:
        try:
            self.answers.append(answer())
        except (grpc.RpcError, httpx.HTTPError) as error:
            self.failures.append(str(error))


def processes(mesh: Mesh) -> Sequence[Process]:
    """The supervisor's processes, asked without a command: that takes a second of a core."""
    with grpc.insecure_channel(f"unix:{mesh.state_dir}/run/supervisor.sock") as channel:
        return SupervisorServiceStub(channel).List(ListRequest(), timeout=CALL_TIMEOUT_S).processes


def pids(mesh: Mesh, service: str) -> list[int]:
    """The service's running processes."""
    return [one.pid for one in processes(mesh) if one.service == service and one.pid]


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)


def healthy(mesh: Mesh) -> bool:
    """Whether every process of the mesh is."""
    return all(one.state == ProcessState.PROCESS_STATE_HEALTHY for one in processes(mesh))
