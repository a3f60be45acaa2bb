"""Row 15: who is told to stop finishes what it has, and nobody loses a call."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from headrace.cache.v1.cache_service_pb2 import GetStatisticsRequest
from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from headrace.guard.v1.guard_service_pb2 import ListLimitsRequest
from headrace.guard.v1.guard_service_pb2_grpc import GuardServiceStub
from headrace.inference.v2.grpc_service_pb2 import ModelMetadataRequest
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from headrace.insight.v1.insight_service_pb2 import ListTracesRequest
from headrace.insight.v1.insight_service_pb2_grpc import InsightServiceStub
from headrace.local.v1.process_pb2 import Process
from headrace.local.v1.supervisor_service_pb2 import StartRequest, StopRequest
from headrace.metering.v1.metering_service_pb2 import GetPriceBookRequest
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from tests.chaos.faults import Processes
from tests.chaos.history import History
from tests.chaos.load import Asks, Load, Profile
from tests.chaos.policy import REFUSALS
from tests.chaos.scenario import small_mesh, verdict
from tests.support.ledger import settled
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.metered import priced_now, tenant
from tests.support.requests import Linear, distinct_rows, linear
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.mesh]

GRACE_S = {"inference": 10.0}
OTHERS_GRACE_S = 5.0
LATER_S = 2.0
"""How long after its grace a process may still be there."""

STEADY = Profile(grpc=3, rest=1, window=2, pause_s=0.03, patient=True)
"""About 200 calls a second; who finds no gateway waits for one, as who retries does."""

BUSY = replace(STEADY, grpc=6, window=4, pause_s=0.0)
"""As much as there is time for: the gateway is never idle by chance."""

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING

Who = tuple[tuple[str, str], ...]


def put(method: Callable[..., object], request: Message, who: Who) -> None:
    """One call, that waits for a service that is away. Ended as CANCELLED it is put once more: grpcio ends so what
    reaches an open connection in the very millisecond of the stop."""
    try:
        method(request, timeout=CALL_TIMEOUT_S, metadata=who, wait_for_ready=True)
    except grpc.RpcError as error:
        if cast(grpc.Call, error).code() is not grpc.StatusCode.CANCELLED:
            raise
        method(request, timeout=CALL_TIMEOUT_S, metadata=who, wait_for_ready=True)


ASKED: dict[str, Callable[[grpc.Channel, Who], None]] = {
    "cache": lambda channel, who: put(CacheServiceStub(channel).GetStatistics, GetStatisticsRequest(), who),
    "guard": lambda channel, who: put(GuardServiceStub(channel).ListLimits, ListLimitsRequest(), who),
    "metering": lambda channel, who: put(
        MeteringServiceStub(channel).GetPriceBook, GetPriceBookRequest(), who
    ),
    "insight": lambda channel, who: put(InsightServiceStub(channel).ListTraces, ListTracesRequest(), who),
    "scaling": lambda channel, who: put(HealthStub(channel).Check, HealthCheckRequest(), who),
    "inference": lambda channel, who: put(
        GRPCInferenceServiceStub(channel).ModelMetadata, ModelMetadataRequest(name="linear"), who
    ),
}
"""What clients of a service's own port ask it: reads."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graceful") / "models"


@pytest.fixture(scope="module")
def pair(models: Path) -> Iterator[Mesh]:
    """Two replicas of small models."""
    with small_mesh(models) as mesh:
        priced_now(mesh, linear(distinct_rows(1)), mesh.demo_token)
        yield mesh


@pytest.fixture
def processes(pair: Mesh) -> Iterator[Processes]:
    found = Processes(pair)
    yield found
    found.until_whole()
    found.close()


class Watcher:
    """Hears a process's health from now until it goes."""

    def __init__(self, address: str) -> None:
        self.heard: list[int] = []
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._stream = HealthStub(self._channel).Watch(HealthCheckRequest())
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()
        eventually(lambda: self.heard == [SERVING], "it serves")

    def ended(self) -> list[int]:
        """All that was heard, once the process is gone."""
        self._thread.join(CALL_TIMEOUT_S)
        self._channel.close()
        return self.heard

    def _hear(self) -> None:
        try:
            self.heard.extend(answer.status for answer in self._stream)
        except grpc.RpcError:
            return


@contextmanager
def asking(mesh: Mesh, process: Process) -> Iterator[list[str]]:
    """Two clients of the process's own port, until the end of the block; the calls of theirs that failed."""
    failures: list[str] = []
    asked, over = [0], threading.Event()

    def ask() -> None:
        # With gRPC's own retry, as clients have it: a call that the connection's end says was not taken is sent again.
        with grpc.insecure_channel(process.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            while not over.wait(0.02):
                try:
                    ASKED[process.service](channel, bearer(mesh.operator_token))
                    asked[0] += 1
                except grpc.RpcError as error:
                    failures.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: asked[0] > 20, "asked")
        yield failures
        before = asked[0]
        eventually(lambda: asked[0] > before + 20, "asked again", CALL_TIMEOUT_S)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def terminated(processes: Processes, victim: Process) -> float:
    """SIGTERM; how long the process was there after it."""
    began = time.monotonic()
    os.kill(victim.pid, signal.SIGTERM)
    eventually(lambda: now(processes, victim).pid != victim.pid, "it is gone", 60.0)
    return time.monotonic() - began


def now(processes: Processes, one: Process) -> Process:
    (found,) = (other for other in processes.listed() if other.name == one.name)
    return found


def stop_by_signal(mesh: Mesh, processes: Processes, service: str) -> None:
    """SIGTERM for one process of the service, and all that is promised of its end."""
    victim = processes.of(service)[0]
    watcher = Watcher(victim.address)
    with asking(mesh, victim) as failures:
        took_s = terminated(processes, victim)
        assert watcher.ended() == [SERVING, NOT_SERVING]
        processes.until_whole([victim.pid])
    print(f"{service}: gone after {took_s:.2f} s")
    assert failures == []
    assert now(processes, victim).last_exit == "exit code 0"
    assert took_s <= GRACE_S.get(service, OTHERS_GRACE_S) + LATER_S


def stop_the_gateway(mesh: Mesh, processes: Processes, _service: str) -> None:
    """Stopped and started by the supervisor."""
    processes.supervisor.Stop(StopRequest(name="gateway"), timeout=60.0)
    processes.supervisor.Start(StartRequest(name="gateway"), timeout=60.0)


@pytest.mark.parametrize("service", [*ASKED, "gateway"])
def test_graceful_stop(pair: Mesh, models: Path, processes: Processes, tmp_path: Path, service: str) -> None:
    """SIGTERM under load: health says so first, what runs is finished, no call fails, and the process goes in time."""
    callers = [tenant(pair, f"{service}-{number}") for number in range(2)]
    file = tmp_path / "history.jsonl"
    with History(file, time.monotonic) as history:
        load = Load(pair, history, Asks(Linear(models), seed=15), callers)
        with load.on(BUSY if service == "gateway" else STEADY):
            load.answers(50)
            with history.fault(f"terminate {service}", [service]):
                stop = stop_the_gateway if service == "gateway" else stop_by_signal
                stop(pair, processes, service)
            load.answers(50)
    settled(pair)
    found = verdict(file, pair.state_dir / "metering" / "ledger.sqlite3", [one.name for one in callers])
    print(found.shares)
    assert found.violations == []
    assert not found.refused
    assert f"terminate {service}" not in REFUSALS
