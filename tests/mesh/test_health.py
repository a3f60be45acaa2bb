"""Row 30 through the gateway: a replica that can't work gets no requests, and gets them again when it can."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import MeshOf
from tests.support.mesh import TWO_REPLICAS, Mesh
from tests.support.metered import asked
from tests.support.metered import processes as listed
from tests.support.requests import distinct_rows, linear, slow
from tests.support.waiting import eventually

OUT_WITHIN_S = 5.0
"""Two seconds are promised; a busy machine may take longer to be asked."""
BACK_WITHIN_S = 15.0
CALLS = 40


@pytest.fixture
def two(mesh_of: MeshOf) -> Mesh:
    """Two replicas."""
    return mesh_of(TWO_REPLICAS)


def test_a_replica_that_stands_still_gets_no_requests(two: Mesh) -> None:
    """A stopped process is a blocked loop to whoever asks it: out, nothing fails, in again when it goes on."""
    victim = next(one for one in listed(two) if one.service == "inference")
    with stopped(victim.pid):
        eventually(lambda: victim.name in unhealthy(two), "the gateway leaves it out", OUT_WITHIN_S)
        assert victim.name not in answering(two)
    eventually(lambda: not unhealthy(two), "the gateway takes it in again", BACK_WITHIN_S)


def test_a_replica_whose_model_hangs_gets_no_requests(two: Mesh) -> None:
    """Also for its other models, which the other replica serves; the process stays alive, and is not restarted."""
    victim = next(one for one in listed(two) if one.service == "inference")
    with two.inference(victim.address) as stub:
        hanging = asked(stub, slow(15_000), two.demo_token)
        eventually(lambda: victim.name in unhealthy(two), "the gateway leaves it out", OUT_WITHIN_S)
        assert victim.name not in answering(two)
        hanging.result()
    eventually(lambda: not unhealthy(two), "the gateway takes it in again", BACK_WITHIN_S)
    assert victim.pid in {one.pid for one in listed(two)}


def unhealthy(mesh: Mesh) -> set[str]:
    """The replicas that fail the gateway's health checks on both ways to them."""
    flags: dict[str, set[str]] = {}
    for line in mesh.envoy_admin("/clusters").splitlines():
        cluster, address, *rest = line.split("::")
        if cluster.startswith("inference-") and rest[:1] == ["health_flags"]:
            replica = address.rpartition("/")[2].partition(".")[0]  # …/inference-0.hot.sock
            flags.setdefault(replica, set()).add(rest[1])
    return {replica for replica, told in flags.items() if all("failed_active_hc" in one for one in told)}


def answering(mesh: Mesh) -> set[str]:
    """The replicas that answer `CALLS` calls, all of which succeed."""
    with mesh.inference() as stub:
        seen = set()
        for _ in range(CALLS):
            call = asked(stub, linear(distinct_rows(1)), mesh.demo_token)
            call.result()
            seen.add(str(dict(call.trailing_metadata())["headrace-replica"]))
        return seen


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT whatever happens."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
