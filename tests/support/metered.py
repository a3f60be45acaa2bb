"""Callers who keep what they were told of every answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grpc
import httpx

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.v1.process_pb2 import Process
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


def processes(mesh: Mesh) -> Sequence[Process]:
    """The supervisor's processes, asked without a command: that takes a second of a core."""
    with grpc.insecure_channel(f"unix:{mesh.state_dir}/run/supervisor.sock") as channel:
        return SupervisorServiceStub(channel).List(ListRequest(), timeout=CALL_TIMEOUT_S).processes


def pids(mesh: Mesh, service: str) -> list[int]:
    """The service's running processes."""
    return [one.pid for one in processes(mesh) if one.service == service and one.pid]
