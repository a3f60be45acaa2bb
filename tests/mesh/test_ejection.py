"""Row 37: no client can eject a replica."""

from collections.abc import Iterator

import grpc
import pytest

from tests.conftest import MeshOf
from tests.support.mesh import CALL_TIMEOUT_S, TWO_REPLICAS, Mesh, bearer, raw
from tests.support.requests import distinct_rows, linear, slow

CALLS = 1000
EJECTIONS = r"outlier_detection\.ejections_(active|enforced)"


@pytest.fixture
def never_ejected(mesh_of: MeshOf) -> Iterator[Mesh]:
    """A mesh of two replicas (of one alone Envoy ejects none); afterwards nobody is or was ejected."""
    mesh = mesh_of(TWO_REPLICAS)
    before = mesh.envoy_stats(EJECTIONS)
    yield mesh
    after = mesh.envoy_stats(EJECTIONS)
    assert after, "no outlier detection"
    assert after == before
    with mesh.inference() as stub:
        answer = stub.ModelInfer(
            linear(distinct_rows(1)), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
        )
    assert answer.model_name == "linear"


def test_tiny_deadlines(never_ejected: Mesh) -> None:
    """1,000 calls with deadlines of 1 ms."""
    with never_ejected.inference() as stub:
        metadata = bearer(never_ejected.demo_token)
        calls = [stub.ModelInfer.future(slow(10), timeout=0.001, metadata=metadata) for _ in range(CALLS)]
        codes = {call.code() for call in calls}
    assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
    assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}


def test_deadlines_that_only_the_mesh_watches(never_ejected: Mesh) -> None:
    """200 calls whose `grpc-timeout` is 1 ms and whose client waits: the mesh ends them, or refuses what can't be in time."""
    with never_ejected.inference() as stub:
        metadata = (*bearer(never_ejected.demo_token), ("grpc-timeout", "1m"))
        calls = [stub.ModelInfer.future(slow(10), metadata=metadata) for _ in range(200)]
        codes = {call.code() for call in calls}
    assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
    assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK}


def test_unknown_methods(never_ejected: Mesh) -> None:
    """1,000 calls of a method that the contract lacks, and of one that no machine without a GPU serves."""
    with never_ejected.channel() as channel:
        for method in ("NoSuchMethod", "CudaSharedMemoryRegister"):
            call = raw(channel, f"/inference.GRPCInferenceService/{method}")
            metadata = bearer(never_ejected.operator_token)
            calls = [call.future(b"", timeout=CALL_TIMEOUT_S, metadata=metadata) for _ in range(CALLS // 2)]
            assert {one.code() for one in calls} == {grpc.StatusCode.UNIMPLEMENTED}, method


def test_cancels(never_ejected: Mesh) -> None:
    """1,000 calls that their client cancels."""
    with never_ejected.inference() as stub:
        metadata = bearer(never_ejected.demo_token)
        calls = [
            stub.ModelInfer.future(slow(10), timeout=CALL_TIMEOUT_S, metadata=metadata) for _ in range(CALLS)
        ]
        for call in reversed(calls):
            call.cancel()
        assert all(call.done() for call in calls)


def test_refused_requests(never_ejected: Mesh) -> None:
    """300 requests that no model can serve: an unknown model, a wrong shape, a failing execution."""
    with never_ejected.inference() as stub:
        metadata = bearer(never_ejected.demo_token)
        wrong_shape = linear(distinct_rows(1))
        wrong_shape.inputs[0].shape[1] = 17
        # Each kind in a row: outlier detection counts what comes one after the other.
        bad = [linear(distinct_rows(1), model="none"), wrong_shape, slow(1, poison=True)]
        calls = [
            stub.ModelInfer.future(bad[number // 100], timeout=CALL_TIMEOUT_S, metadata=metadata)
            for number in range(300)
        ]
        codes = {call.code() for call in calls}
    assert codes == {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}
