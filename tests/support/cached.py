"""What a caller sees of the cache: where each of its answers came from; and what the cache itself tells."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import httpx
from prometheus_client.parser import text_string_to_metric_families

from headrace.cache.v1.cache_service_pb2 import GetStatisticsRequest
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.local.v1.process_pb2 import Process, ProcessState
from headrace.local.v1.supervisor_service_pb2 import ListRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer
from tests.support.requests import Floats
from tests.support.requests import linear as linear_request
from tests.support.waiting import eventually

CACHED = "linear-cached"
RESTARTED_S = 30.0

TIGHT = MeshOptions(
    replicas=2,
    config="cache: {near_entries: 16, max_entries: 64}\n",
    # insight keeps 50 traces a second by itself: of what follows a flood of requests it would keep none.
    env={"HEADRACE_INSIGHT_TRACE_RATE": "1000000", "HEADRACE_INSIGHT_TRACE_BURST": "1000000"},
)
"""Two replicas whose near-caches and whose cache service's memory are small, so that every level answers."""


@dataclass(frozen=True)
class Answer:
    """An answer, and the metadata that came with it."""

    message: ModelInferResponse
    told: Mapping[str, str]

    @property
    def level(self) -> str:
        """near, memory, redis or miss; empty where no cache was asked."""
        return self.told.get("headrace-cache", "")

    @property
    def replica(self) -> str:
        return self.told["headrace-replica"]

    @property
    def executed(self) -> bool:
        """Whether the model worked for this very request."""
        return self.told["headrace-batch-size"] != "0"

    @property
    def content(self) -> bytes:
        """All of the answer that isn't its caller's own, bit by bit."""
        copy = ModelInferResponse()
        copy.CopyFrom(self.message)
        copy.id = ""
        return copy.SerializeToString(deterministic=True)


def ask(
    stub: GRPCInferenceServiceStub, request: ModelInferRequest, token: str, *more: tuple[str, str]
) -> Answer:
    """One inference, with `more` metadata."""
    message, call = stub.ModelInfer.with_call(
        request, timeout=CALL_TIMEOUT_S, metadata=(*bearer(token), *more)
    )
    return Answer(message, {name: str(value) for name, value in call.trailing_metadata()})


def cached(x: Floats, request_id: str = "") -> ModelInferRequest:
    """A request whose answer may come from a cache."""
    return linear_request(x, request_id, CACHED)


@contextmanager
def cache_stub(mesh: Mesh) -> Iterator[CacheServiceStub]:
    """The cache service at its own port."""
    with mesh.channel(mesh.services["cache"][0]) as channel:
        yield CacheServiceStub(channel)


def stored_entries(mesh: Mesh) -> int:
    """How many answers Valkey holds; -1 while it doesn't tell."""
    with cache_stub(mesh) as stub:
        answer = stub.GetStatistics(
            GetStatisticsRequest(), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.operator_token)
        )
        return int(answer.levels[1].entries)


def metric(mesh: Mesh, address: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 while nobody answers."""
    try:
        text = mesh.metrics(address)
    except httpx.TransportError:
        return 0.0
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(
        sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
    )


def store_up(mesh: Mesh) -> bool:
    """Whether the cache service asks Valkey."""
    return metric(mesh, mesh.services["cache"][0], "headrace_cache_level_up", level="redis") == 1


def near_live(mesh: Mesh) -> bool:
    """Whether every replica hears the cache service, and so uses its near-cache."""
    return all(
        metric(mesh, address, "headrace_cache_near_live") == 1 for address in mesh.services["inference"]
    )


def processes(mesh: Mesh) -> list[Process]:
    """What the supervisor keeps; sooner than `headrace status` tells it."""
    with grpc.insecure_channel(f"unix:{mesh.state_dir}/run/supervisor.sock") as channel:
        return list(SupervisorServiceStub(channel).List(ListRequest(), timeout=CALL_TIMEOUT_S).processes)


def well(mesh: Mesh) -> bool:
    """Whether every process is healthy and every level of the cache is in use."""
    healthy = all(one.state == ProcessState.PROCESS_STATE_HEALTHY for one in processes(mesh))
    return healthy and store_up(mesh) and near_live(mesh)


def until_well(mesh: Mesh) -> None:
    """Waits for `well`."""
    eventually(lambda: well(mesh), "every process healthy and every level of the cache in use", RESTARTED_S)


def pid_of(mesh: Mesh, service: str) -> int:
    """The service's only process; 0 while there is none."""
    (process,) = (one for one in processes(mesh) if one.name == service)
    return int(process.pid)


def signalled(mesh: Mesh, service: str, number: signal.Signals) -> None:
    """Sends a signal to the service's only process."""
    os.kill(pid_of(mesh, service), number)


def killed(mesh: Mesh, service: str) -> None:
    """kill -9 of the service's only process; returns when the supervisor knows."""
    before = pid_of(mesh, service)
    os.kill(before, signal.SIGKILL)
    eventually(lambda: pid_of(mesh, service) != before, f"{service} is gone")
