"""What the supervisor does for replicas: restarts the killed, starts and stops as told, or says no."""

import os
import signal
import threading
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from headrace.local.v1.process_pb2 import ProcessState
from headrace.local.v1.supervisor_service_pb2 import DrainRequest, ListRequest, StartRequest, StopRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from tests.conftest import MeshOf
from tests.support.mesh import CALL_TIMEOUT_S, MeshOptions, bearer
from tests.support.mesh import Mesh as Running
from tests.support.requests import distinct_rows, linear
from tests.support.waiting import eventually

pytestmark = pytest.mark.mesh

UP_S = 60.0
RESTART_S = 2.0
# Loading takes under two seconds, more on a machine that runs other tests meanwhile.
LOADED_S = 30.0


@pytest.fixture
def pair(mesh_of: MeshOf) -> Running:
    """A mesh of two replicas that only this module's tests change."""
    return mesh_of(MeshOptions(replicas=2))


def supervisor(mesh: Running) -> SupervisorServiceStub:
    channel = grpc.insecure_channel(f"unix:{mesh.state_dir}/run/supervisor.sock")
    return SupervisorServiceStub(channel)


@pytest.mark.chaos
def test_killed_replica(pair: Running) -> None:
    """kill -9 of a replica: another process within 2 s, healthy once it has loaded its models, counted; insight is not touched."""
    stub = supervisor(pair)
    before = {one.name: one for one in stub.List(ListRequest()).processes}
    os.kill(before["inference-0"].pid, signal.SIGKILL)

    def again() -> Any:
        one = next(one for one in stub.List(ListRequest()).processes if one.name == "inference-0")
        return one if one.pid not in (0, before["inference-0"].pid) else None

    eventually(again, "restarted", RESTART_S)
    eventually(lambda: again() and again().state == ProcessState.PROCESS_STATE_HEALTHY, "healthy", LOADED_S)
    assert again().restarts == before["inference-0"].restarts + 1
    assert again().last_exit == "killed by SIGKILL"
    assert pair.pids("insight") == [before["insight"].pid]


def test_replica_comes_and_goes_under_load(pair: Running) -> None:
    """Start adds a replica, Drain takes it from Envoy while it runs, Stop ends it: no call fails meanwhile."""
    stub = supervisor(pair)
    with _Load(pair) as failures:
        started = stub.Start(StartRequest(name="inference"), timeout=UP_S).process
        assert (started.name, started.state) == ("inference-2", ProcessState.PROCESS_STATE_HEALTHY)
        assert "inference-2.grpc.sock" in pair.envoy_admin("/clusters")
        drained = stub.Drain(DrainRequest(name="inference-2"), timeout=UP_S).process
        assert (drained.pid, drained.state) == (started.pid, ProcessState.PROCESS_STATE_DRAINING)
        assert "inference-2" not in pair.envoy_admin("/clusters")
        (stopped,) = stub.Stop(StopRequest(name="inference-2"), timeout=UP_S).processes
        assert (stopped.pid, stopped.state) == (0, ProcessState.PROCESS_STATE_STOPPED)
        (stopped,) = stub.Stop(StopRequest(name="inference-1"), timeout=UP_S).processes
        assert stopped.last_exit == "exit code 0"
        stub.Start(StartRequest(name="inference-1"), timeout=UP_S)
    assert failures == []


class _Load:
    """Calls one after the other from four clients; `failures` has the code of each that failed."""

    def __init__(self, mesh: Running) -> None:
        self._mesh = mesh
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(4)]
        self.failures: list[str] = []

    def __enter__(self) -> list[str]:
        for thread in self._threads:
            thread.start()
        return self.failures

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        request = linear(distinct_rows(1))
        with self._mesh.inference() as stub:
            while not self._over.is_set():
                try:
                    stub.ModelInfer(request, timeout=CALL_TIMEOUT_S, metadata=bearer(self._mesh.demo_token))
                except grpc.RpcError as error:
                    self.failures.append(str(error))


@pytest.mark.parametrize(
    ("call", "code", "reason"),
    [
        (
            lambda stub: stub.Stop(StopRequest(name="inference-7")),
            grpc.StatusCode.NOT_FOUND,
            "PROCESS_NOT_FOUND",
        ),
        (
            lambda stub: stub.Drain(DrainRequest(name="nobody")),
            grpc.StatusCode.NOT_FOUND,
            "PROCESS_NOT_FOUND",
        ),
        (lambda stub: stub.Start(StartRequest(name="")), grpc.StatusCode.NOT_FOUND, "PROCESS_NOT_FOUND"),
        (
            lambda stub: stub.Start(StartRequest(name="insight")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "PROCESS_STATE",
        ),
        (
            lambda stub: stub.Drain(DrainRequest(name="insight")),
            grpc.StatusCode.FAILED_PRECONDITION,
            "PROCESS_STATE",
        ),
    ],
)
def test_refusals(mesh: Running, call: Any, code: grpc.StatusCode, reason: str) -> None:
    """What the supervisor refuses carries its reason, and changes nothing."""
    stub = supervisor(mesh)
    before = [(one.name, one.pid, one.state) for one in stub.List(ListRequest()).processes]
    with pytest.raises(grpc.RpcError) as caught:
        call(stub)
    status = rpc_status.from_call(cast(grpc.Call, caught.value))  # what grpc raises is both
    assert (caught.value.code(), status.code) == (code, code.value[0])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "local.headrace")
    assert [(one.name, one.pid, one.state) for one in stub.List(ListRequest()).processes] == before
