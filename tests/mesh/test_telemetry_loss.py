"""Row 29: losing the store of traces never hurts a caller."""

import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.conftest import MeshOf
from tests.support.cached import TIGHT, ask, killed, metric, processes, signalled, until_well
from tests.support.mesh import Mesh
from tests.support.requests import Linear, distinct_rows
from tests.support.requests import linear as linear_request
from tests.support.steady import Steady
from tests.support.traces import stored
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

DROPPED_S = 30.0
"""An exporter gives up after 5 s; more on a machine that runs other tests meanwhile."""

AGAIN_S = 60.0
"""A sender that found nobody waits longer each time before it tries again."""

EXPORTED_S = 1.5
"""The gateway sends its spans each second."""

ADDED_P50_MS, ADDED_P99_MS = 50.0, 500.0
"""How much longer an answer may take. The promise is a p99 of 1 ms on a machine that does nothing else, and the
figure is printed; here the same two cores start insight again. An answer that waits for an exporter takes seconds."""

GROWN_BYTES = 64 << 20
"""What a replica's queue of 8192 spans may take, with all else that grows meanwhile."""


@pytest.fixture
def pair(mesh_of: MeshOf) -> Iterator[Mesh]:
    """Two replicas, whole before and after."""
    running = mesh_of(TIGHT)
    until_well(running)
    yield running
    until_well(running)


def dropped(mesh: Mesh) -> float:
    """Spans that the replicas count as lost."""
    counts = (
        metric(mesh, one, "headrace_telemetry_dropped_spans_total") for one in mesh.services["inference"]
    )
    return sum(counts)


def memory(mesh: Mesh) -> int:
    """The replicas' resident bytes."""
    pids = [one.pid for one in processes(mesh) if one.name.startswith("inference-")]
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)


@pytest.mark.parametrize(
    "seconds", [3.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
@pytest.mark.parametrize("how", ["killed", "stalled"])
def test_insight_is_lost(pair: Mesh, linear: Linear, how: str, seconds: float) -> None:
    """No call fails, none waits; what can't be sent is held within bounds and then counted; afterwards traces are whole again."""
    before_bytes, lost = memory(pair), dropped(pair)
    with Steady(pair, linear).blowing() as tally:
        time.sleep(2.0)
        broken = time.monotonic()
        if how == "killed":
            killed(pair, "insight")
        else:
            signalled(pair, "insight", signal.SIGSTOP)
            eventually(lambda: dropped(pair) > lost, "lost spans are counted", DROPPED_S)
        time.sleep(seconds)
        mended = time.monotonic()
        grown = memory(pair) - before_bytes
        if how == "stalled":
            signalled(pair, "insight", signal.SIGCONT)
        until_well(pair)
    print(
        f"insight {how}: {len(tally.calls)} calls, lost spans {dropped(pair) - lost:.0f}, memory {grown >> 20:+d} MiB"
    )
    assert not tally.errors
    assert not tally.wrong
    assert grown < GROWN_BYTES
    for share, bound_ms in ((50, ADDED_P50_MS), (99, ADDED_P99_MS)):
        before_ms = tally.took_ms("", share, broken - 2.0, broken)
        added_ms = tally.took_ms("", share, broken, mended) - before_ms
        print(f"  added p{share} {added_ms:.1f} ms to {before_ms:.1f} ms")
        assert added_ms < bound_ms
    began = time.monotonic()
    traced_again(pair)
    print(f"  traced again after {time.monotonic() - began:.1f} s")


def traced_again(mesh: Mesh) -> None:
    """A new request's spans reach insight, the gateway's and the replica's, once their senders have tried again."""

    def whole() -> bool:
        with mesh.inference() as stub:
            answer = ask(stub, linear_request(distinct_rows(1)), mesh.demo_token)
        time.sleep(EXPORTED_S)
        found = stored(mesh, answer.told["headrace-trace-id"])
        return found is not None and bool(found.of("gateway") and found.of("inference") and found.linked)

    eventually(whole, "a new request's trace is whole", AGAIN_S)
