"""The supervisor with real processes: nothing left behind, whatever ends it."""

import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import psutil
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from headrace.local.ports import is_free
from headrace.local.statedir import StateDir
from headrace.local.v1.process_pb2 import ProcessState
from headrace.local.v1.supervisor_service_pb2 import DrainRequest, ListRequest, StartRequest, StopRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from tests.conftest import MeshOf
from tests.support.cache import ROOT
from tests.support.commands import run
from tests.support.mesh import CALL_TIMEOUT_S, MeshOptions, bearer, environment, headrace_command
from tests.support.mesh import Mesh as Running
from tests.support.requests import distinct_rows, linear
from tests.support.waiting import eventually

pytestmark = pytest.mark.mesh

UP_S = 60.0
RESTART_S = 2.0
GONE_S = 5.0
# Loading takes under two seconds, more on a machine that runs other tests meanwhile.
LOADED_S = 30.0


@dataclass(frozen=True)
class Place:
    """A state directory of its own, whose mesh has one small model."""

    state: StateDir

    def arguments(self, *arguments: str) -> list[str]:
        config = self.state.root / "headrace.yaml"
        return [*arguments, "--port", "0", "--state-dir", str(self.state.root), "--config", str(config)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(headrace_command(*arguments), env=environment({}), timeout_s=UP_S, cwd=ROOT)

    def up(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*self.arguments("up", "--detach", "--json", *arguments))
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def foreground(self) -> "subprocess.Popen[str]":
        """`headrace up` in a session of its own, once it has printed that it is ready."""
        process = subprocess.Popen(
            [str(part) for part in headrace_command(*self.arguments("up"))],
            cwd=ROOT,
            env=environment({}),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout
        for line in process.stdout:
            if line.startswith("ready in"):
                return process
        raise AssertionError(f"ended with {process.wait()} before it was ready")

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("down", "--state-dir", str(self.state.root))

    def processes(self) -> list[psutil.Process]:
        """Supervisor, services and Envoy of this place, by their command lines and environments."""
        return [process for process in psutil.process_iter() if self._ours(process)]

    def _ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            texts = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            return False
        return any(str(self.state.root) in text for text in texts)

    def nothing_left(self) -> bool:
        """No process, and no socket that anybody listens on."""
        listening = Path("/proc/net/unix").read_text()
        return not self.processes() and str(self.state.root) not in listening


@pytest.fixture
def place(mesh: Running) -> Iterator[Place]:
    """Not below pytest's tmp_path: a socket's path may have 107 bytes only."""
    root = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    shutil.copytree(mesh.state_dir / "models" / "linear", root / "own" / "linear")
    (root / "headrace.yaml").write_text(f"inference: {{repository: {root / 'own'}}}\n")
    found = Place(StateDir(root))
    yield found
    found.down()
    assert found.nothing_left()
    shutil.rmtree(root)


@pytest.mark.chaos
def test_kill_of_the_supervisor(place: Place) -> None:
    """kill -9 of the supervisor leaves no process, port or socket, Envoy's included; the next `up` cleans and starts."""
    document = place.up()
    assert len(place.processes()) == 4
    record = place.state.supervisor()
    assert record
    os.kill(record.pid, signal.SIGKILL)
    eventually(place.nothing_left, "everything is gone", GONE_S)
    ports = [
        int(address.rpartition(":")[2]) for address in [document["gateway"], *document["services"]["insight"]]
    ]
    assert all(map(is_free, ports))
    assert place.state.record.exists()  # stale: nobody was left to remove it
    assert place.run("status", "--state-dir", str(place.state.root)).returncode == 1
    place.up()


def test_second_up_and_down(place: Place) -> None:
    """A second `up` says where the mesh is and starts nothing; `down` leaves nothing, a second one has nothing to do."""
    first = place.up()
    before = {process.pid for process in place.processes()}
    second = place.up()
    assert second["already_up"] is True
    assert {key: second[key] for key in first} == first
    assert {process.pid for process in place.processes()} == before
    done = place.down()
    assert (done.returncode, done.stdout) == (0, "stopped\n")
    assert place.nothing_left()
    assert list(place.state.run.iterdir()) == []
    assert not place.state.record.exists()
    assert "no mesh runs" in place.down().stdout


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_signals_to_the_foreground(place: Place, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end the mesh in good order: exit code 0, nothing left."""
    with place.foreground() as process:
        process.send_signal(number)
        assert process.wait(UP_S) == 0
    assert place.nothing_left()


@pytest.mark.chaos
def test_kill_of_the_foreground(place: Place) -> None:
    """kill -9 of `headrace up` ends the mesh too."""
    with place.foreground() as process:
        process.kill()
        eventually(place.nothing_left, "everything is gone", UP_S)


def test_interrupted_start(place: Place) -> None:
    """SIGTERM before the mesh is ready ends it at once and leaves nothing."""
    command = [str(part) for part in headrace_command(*place.arguments("up"))]
    with subprocess.Popen(command, cwd=ROOT, env=environment({}), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: place.state.log("insight").exists(), "the start has begun", UP_S)
        process.terminate()
        process.wait(UP_S)
    eventually(place.nothing_left, "everything is gone", GONE_S)


def test_port_clash(place: Place, mesh: Running) -> None:
    """A taken port: exit code 1, who holds it, what to do; nothing left running."""
    port = mesh.gateway.rpartition(":")[2]
    done = place.run("up", "--detach", "--json", "--port", port, "--state-dir", str(place.state.root))
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert port in error["what"]
    assert f"pid {mesh.pids('gateway')[0]}" in error["why"]
    assert "--port 0" in error["next"]


def test_service_that_can_not_start(place: Place) -> None:
    """A service that ends at once fails `up` with its own last line, and takes the rest down."""
    env = environment({"HEADRACE_INSIGHT_QUEUE_BYTES": "many"})
    command = headrace_command(*place.arguments("up", "--detach", "--json"))
    done = run(command, env=env, timeout_s=UP_S, cwd=ROOT)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert "insight" in error["what"]
    assert "HEADRACE_INSIGHT_QUEUE_BYTES" in error["why"]
    assert place.nothing_left()


def test_private_files(mesh: Running) -> None:
    """Directories are 0700, sockets and tokens 0600."""
    state = StateDir(mesh.state_dir)
    for directory in (state.root, state.run, state.keys):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in (*state.run.iterdir(), state.operator_token, state.demo_token):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


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
