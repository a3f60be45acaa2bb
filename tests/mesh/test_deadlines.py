"""Row 20: deadlines propagate. Row 13: cancelled or expired work is not computed."""

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import grpc
import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelStatisticsRequest
from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.conftest import MeshOf
from tests.support.http2 import Request, grpc_frame, send
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer
from tests.support.node import Node
from tests.support.requests import output, slow
from tests.support.traces import trace
from tests.support.waiting import eventually

INFER = "/inference.GRPCInferenceService/ModelInfer"
MODEL_INFER = INFER[1:]
DEADLINE_S = 0.2
# Between the deadline and the client's knowing of it: grpcio's timer, the scheduler, two busy cores.
SLACK_S = 0.15
ABOUT_A_SECOND = 2500
# Fifty calls at once keep their own client from its clock: half of them were told of 12 ms late, not of 3.
APART_S = 0.004
LONGER_THAN_NODE_STARTS = 3 * ABOUT_A_SECOND
UNTAUGHT = {
    "h1": MeshOptions(config="gateway: {hot_path: h1}\n"),
    "h2": MeshOptions(config="gateway: {hot_path: h2}\n"),
}


@pytest.fixture(scope="module", params=["h1", "h2"])
def hot_mesh(request: pytest.FixtureRequest, mesh_of: MeshOf) -> Mesh:
    """Of these tests alone: a replica that knows what `slow` takes refuses at entry what is to wait here."""
    return mesh_of(UNTAUGHT[request.param])


def rows_executed(mesh: Mesh, stub: GRPCInferenceServiceStub, model: str = "slow") -> int:
    """How many rows of the model went through its session so far."""
    statistics = stub.ModelStatistics(
        ModelStatisticsRequest(name=model), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
    )
    return int(statistics.model_stats[0].inference_count)


@contextmanager
def occupied(
    mesh: Mesh, stub: GRPCInferenceServiceStub, *, further: int = 0, steps: int = ABOUT_A_SECOND
) -> Iterator[None]:
    """The model's one instance computes for about a second; afterwards only `further` rows more were executed."""
    before = rows_executed(mesh, stub)
    call = stub.ModelInfer.future(slow(steps), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
    time.sleep(0.1)  # it has to be at the model before the next one arrives
    yield
    assert call.exception() is None
    # One more goes through the queue, so that whatever was in it has been executed too.
    stub.ModelInfer(slow(1), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
    assert rows_executed(mesh, stub) - before == 2 + further


def test_expired_request_is_answered_at_its_deadline_and_never_computed(hot_mesh: Mesh) -> None:
    """A call with 200 ms behind a second of work ends with DEADLINE_EXCEEDED at 200 ms and is never executed."""
    mesh = hot_mesh
    with mesh.inference() as stub, occupied(mesh, stub):
        start = time.monotonic()
        call = stub.ModelInfer.future(slow(1), timeout=DEADLINE_S, metadata=bearer(mesh.demo_token))
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert DEADLINE_S * 0.9 <= time.monotonic() - start <= DEADLINE_S + SLACK_S


def test_replica_answers_at_the_deadline_and_not_at_its_next_batch(hot_mesh: Mesh) -> None:
    """A request whose own `timeout` (microseconds) passes in the queue is told so at once by the replica."""
    mesh, request = hot_mesh, slow(1)
    request.parameters["timeout"].int64_param = round(DEADLINE_S * 1e6)
    with mesh.inference() as stub, occupied(mesh, stub):
        start = time.monotonic()
        call = stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert DEADLINE_S * 0.9 <= time.monotonic() - start <= DEADLINE_S + SLACK_S
        assert call.details() == "the deadline passed in the queue"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hundreds_are_told_at_their_deadlines(hot_mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 calls whose `timeout` passes in the queue: each is told so by the replica, within `SLACK_S`; none is executed.

    The promise is 20 ms on a machine that does nothing else: how many kept it is printed.
    """
    late = [seconds for _ in range(20) for seconds in _told_late(hot_mesh)]
    with capsys.disabled():
        kept = sum(seconds <= 0.02 for seconds in late) / len(late)
        shown = ", ".join(f"p{share} {_percentile(late, share) * 1e3:.1f} ms" for share in (50, 99, 100))
        print(f"\ntold after the deadline: {shown}; within 20 ms: {kept:.1%}")
    assert min(late) >= 0, "told before the deadline"
    assert max(late) <= SLACK_S


def _told_late(mesh: Mesh) -> list[float]:
    """Fifty calls behind more than half a second of work, each with another timeout: seconds from it to their callers' knowing."""
    ends: dict[int, float] = {}
    with mesh.inference() as stub, occupied(mesh, stub, steps=LONGER_THAN_NODE_STARTS):
        begun, calls = [], []
        for number in range(50):
            request = slow(1)
            request.parameters["timeout"].int64_param = (20 + 10 * number) * 1000
            begun.append(time.monotonic())
            call = stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
            call.add_done_callback(partial(_note, ends, number))
            calls.append(call)
            time.sleep(APART_S)
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        assert {call.details() for call in calls} == {"the deadline passed in the queue"}
        eventually(lambda: len(ends) == len(calls), "every caller knows")
    return [ends[number] - begun[number] - (20 + 10 * number) / 1000 for number in range(50)]


def _note(ends: dict[int, float], number: int, _: object) -> None:
    ends[number] = time.monotonic()


def _percentile(values: list[float], share: int) -> float:
    return sorted(values)[(len(values) - 1) * share // 100]


def test_mesh_itself_ends_a_call_at_its_deadline(hot_mesh: Mesh, node: Node) -> None:
    """A client that names a deadline and does not watch its own clock is told DEADLINE_EXCEEDED when it has passed."""
    mesh = hot_mesh
    headers = {
        ":authority": mesh.gateway,
        "authorization": f"Bearer {mesh.demo_token}",
        "grpc-timeout": "200m",
    }
    request = Request(INFER, headers, grpc_frame(slow(1).SerializeToString()))
    with mesh.inference() as stub, occupied(mesh, stub, steps=LONGER_THAN_NODE_STARTS):
        (answer,) = send(node, mesh.gateway, [request])
        assert answer.grpc_status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
        assert DEADLINE_S * 0.9 <= answer.seconds <= DEADLINE_S + SLACK_S


def test_replica_is_done_at_the_deadline_of_the_client(hot_mesh: Mesh) -> None:
    """The replica gives up with its client: its span, inside the gateway's, is over at the deadline."""
    mesh = hot_mesh
    trace_id = secrets.token_hex(16)
    metadata = (*bearer(mesh.demo_token), ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"))
    with mesh.inference() as stub, occupied(mesh, stub):
        stub.ModelInfer.future(slow(1), timeout=DEADLINE_S, metadata=metadata).exception()
    found = trace(mesh, trace_id, lambda seen: bool(seen.of("gateway") and seen.of("inference", MODEL_INFER)))
    (server,) = found.of("inference", MODEL_INFER)
    assert server.attributes["rpc.response.status_code"] in ("DEADLINE_EXCEEDED", "CANCELLED")
    assert server.duration.ToTimedelta().total_seconds() <= DEADLINE_S + SLACK_S
    (gateway,) = found.of("gateway")
    assert server.start_time.ToDatetime() >= gateway.start_time.ToDatetime()
    # grpcio rounds up to the next millisecond.
    assert 0 < int(gateway.attributes["grpc.timeout"].removesuffix("m")) <= DEADLINE_S * 1000 + 1


def test_cancelled_request_is_never_computed(hot_mesh: Mesh) -> None:
    """A call that its client cancels in the queue is never executed."""
    mesh = hot_mesh
    with mesh.inference() as stub, occupied(mesh, stub):
        call = stub.ModelInfer.future(slow(1), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
        time.sleep(0.1)  # it has to be in the queue
        call.cancel()
        assert call.cancelled()


def test_cancelled_requests_leave_their_neighbours_alone(hot_mesh: Mesh) -> None:
    """Of calls that wait for one batch, those that are not cancelled get their answers."""
    mesh = hot_mesh
    with mesh.inference() as stub, occupied(mesh, stub, further=3):
        calls = [
            stub.ModelInfer.future(slow(1, row), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token))
            for row in range(6)
        ]
        time.sleep(0.1)  # they have to be in the queue
        for call in calls[::2]:
            call.cancel()
        assert [output(call.result(), "rows_out").item() for call in calls[1::2]] == [1, 3, 5]


def test_calls_with_time_are_answered_after_a_storm_of_deadlines(hot_mesh: Mesh) -> None:
    """After 200 calls that expire at once, a call with time is answered."""
    metadata = bearer(hot_mesh.demo_token)
    with ExitStack() as stack:
        # The gateway takes 100 calls at once on a connection. The next wait in the client, and grpcio 1.85 loses
        # some whose deadline passes there: they never end, nor does closing their channel.
        stubs = [stack.enter_context(hot_mesh.inference()) for _ in range(4)]
        calls = [
            stub.ModelInfer.future(slow(50), timeout=0.01, metadata=metadata)
            for stub in stubs
            for _ in range(50)
        ]
        assert {call.code() for call in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        answer = stubs[0].ModelInfer(slow(1, 7.0), timeout=CALL_TIMEOUT_S, metadata=metadata)
        assert output(answer, "rows_out").item() == 7.0
