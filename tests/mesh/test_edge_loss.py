"""Metering killed and stalled under load: no call fails, and what the edge could not tell is counted, not corrected."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import grpc
import pytest

from tests.chaos.faults import Processes
from tests.conftest import MeshOf
from tests.mesh.test_edge_log import counts_of, rows_of, summary
from tests.support.ledger import ledger_of, settled
from tests.support.mesh import Mesh, MeshOptions
from tests.support.metered import Tenant, answer_of, asked, priced_now, tenant
from tests.support.requests import distinct_rows, linear
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

LOST = MeshOptions(config="telemetry: {sample_ratio: 0}\n", env={"HEADRACE_METERING_EDGE_WINDOW_S": "1"})
ROW = linear(distinct_rows(1, seed=45))
UP_S = 60.0
COMPLETED = "http.edge.downstream_rq_completed"
BOUND_BYTES = 64 * 1024 * 1024


@pytest.fixture
def lost(mesh_of: MeshOf) -> Mesh:
    """A mesh whose metering is killed and stalled; a request and its event wait a second for each other."""
    mesh = mesh_of(LOST)
    priced_now(mesh, ROW, mesh.demo_token)
    return mesh


@pytest.fixture
def processes(lost: Mesh) -> Iterator[Processes]:
    """Its processes, all of them healthy."""
    with closing(Processes(lost)) as found:
        found.until_whole()
        yield found


class Load:
    """One connection that has 16 calls in flight until the end of the block; counts answers, keeps failures."""

    def __init__(self, mesh: Mesh, caller: Tenant) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._mesh = mesh
        self._caller = caller
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def more(self, count: int) -> None:
        """Waits for so many answers from now on."""
        wanted = self.answers + count
        eventually(lambda: self.answers >= wanted, f"{count} more answers", UP_S)

    def _run(self) -> None:
        with self._mesh.inference() as stub:
            while not self._over.is_set():
                for call in [asked(stub, ROW, self._caller.token) for _ in range(16)]:
                    try:
                        answer_of(self._caller.name, call)
                        self.answers += 1
                    except grpc.RpcError as error:
                        self.failures.append(str(error))


def allocated(mesh: Mesh) -> int:
    """Bytes that Envoy has allocated."""
    return mesh.envoy_stats("^server.memory_allocated$")["server.memory_allocated"]


@pytest.mark.parametrize("way", ["killed", "stalled"])
def test_losing_metering_hurts_nobody(lost: Mesh, processes: Processes, way: str) -> None:
    """0 failed calls; the ledger has all of them; those that the edge told nobody of are `ledger_only` or uncompared; Envoy keeps within its bounds."""
    caller = tenant(lost, f"lost-{way}-{uuid4().hex[:8]}")
    memory = allocated(lost)
    with Load(lost, caller) as load:
        load.more(300)
        (metering,) = processes.of("metering")
        os.kill(metering.pid, signal.SIGKILL if way == "killed" else signal.SIGSTOP)
        load.more(1000)
        assert allocated(lost) - memory < BOUND_BYTES
        if way == "stalled":
            os.kill(metering.pid, signal.SIGCONT)
        processes.until_whole([metering.pid] if way == "killed" else [])
        load.more(300)
    assert load.failures == []
    settled(lost)
    eventually(lambda: summary(lost).waiting == 0, "all that waits is decided", UP_S)
    answer = summary(lost)
    row = rows_of(answer, caller.name)["linear"]
    events = len(ledger_of(lost).events(caller.name))
    assert row.ledger_events == events == load.answers
    assert 0 < row.matched + row.ledger_only <= events
    edge = counts_of(answer, caller.name)
    assert set(edge) == {"ANSWERED"}
    assert row.matched <= edge["ANSWERED"] <= events
    if way == "stalled":  # nothing was forgotten: each event met its request or is alone
        assert row.matched + row.ledger_only == events


def test_what_the_gateway_dropped_is_known(lost: Mesh, processes: Processes) -> None:
    """Metering acknowledges each batch: every request that the gateway completed is counted as written or as dropped."""
    caller = tenant(lost, f"known-{uuid4().hex[:8]}")
    before = logged(lost)
    with Load(lost, caller) as load:
        load.more(200)
        (metering,) = processes.of("metering")
        os.kill(metering.pid, signal.SIGKILL)
        load.more(500)
        processes.until_whole([metering.pid])
        load.more(200)
    assert load.failures == []
    eventually(
        lambda: sum(logged(lost).values()) == lost.envoy_stats(COMPLETED)[COMPLETED],
        "each request is written or dropped",
        UP_S,
    )
    found = logged(lost) - before
    assert found["dropped"] > 0
    assert found["written"] >= 200


def logged(mesh: Mesh) -> Counter[str]:
    """Requests that metering has acknowledged, and those that were dropped."""
    names = {name: f"access_logs.open_telemetry_access_log.logs_{name}" for name in ("written", "dropped")}
    stats = mesh.envoy_stats("^access_logs")
    return Counter({name: stats[stat] for name, stat in names.items()})
