"""Row 36 through the whole mesh: whatever callers do, nobody gets another's answer."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import psutil
import pytest

from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.requests import Linear, distinct_rows
from tests.support.requests import linear as linear_request
from tests.support.storm import Storm

BURST = 500


@pytest.mark.parametrize(
    "seconds", [3.0, pytest.param(120.0, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
def test_storm_of_cancels_deadlines_and_errors(hot_mesh: Mesh, linear: Linear, seconds: float) -> None:
    """While others cancel, expire and fail on the same connections, every answer has its caller's id and numbers."""
    tally = Storm(hot_mesh, linear).blow(seconds)
    assert not tally.mixed_up
    assert tally.endings["answered"] > 100, tally.endings
    assert set(tally.endings) >= {"answered", "cancelled", "DEADLINE_EXCEEDED", "INTERNAL", "NOT_FOUND"}


def test_burst_on_a_paused_replica(mesh: Mesh, linear: Linear) -> None:
    """500 calls that arrive while the replica is stopped are all answered when it goes on: none was refused."""
    rows = distinct_rows(BURST, seed=500)
    with ExitStack() as stack:
        stubs = [stack.enter_context(mesh.inference()) for _ in range(5)]
        for stub in stubs:  # connections stand before the pause, so that the burst is one
            stub.ModelInfer(
                linear_request(rows[:1]), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
            )
        with paused(mesh, "inference"):
            calls = [
                stubs[number % 5].ModelInfer.future(
                    linear_request(rows[number : number + 1], str(number)),
                    timeout=CALL_TIMEOUT_S,
                    metadata=bearer(mesh.demo_token),
                )
                for number in range(BURST)
            ]
            time.sleep(1.0)  # all of them are at the replica's socket by then
        assert [call.code() for call in calls] == [grpc.StatusCode.OK] * BURST
        assert [call.result().id for call in calls] == [str(number) for number in range(BURST)]


@contextmanager
def paused(mesh: Mesh, service: str) -> Iterator[None]:
    """The service's processes, stopped by SIGSTOP."""
    processes = [psutil.Process(pid) for pid in mesh.pids(service)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
