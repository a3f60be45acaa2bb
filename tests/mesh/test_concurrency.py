"""Many callers at once: every answer is its own caller's."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import numpy as np

from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from tests.conftest import MeshOf
from tests.support.mesh import CALL_TIMEOUT_S, TWO_REPLICAS, Mesh, bearer
from tests.support.requests import Linear, distinct_rows, output
from tests.support.requests import linear as linear_request
from tests.support.waiting import eventually

CALLERS = 1000
# The gateway takes 100 streams on a connection: with fewer connections callers would take turns.
CONNECTIONS = 10
REST_CALLERS = 100


def test_1000_concurrent_requests_get_their_own_answers(hot_mesh: Mesh, linear: Linear) -> None:
    """Of 1,000 concurrent calls with distinct inputs each gets status OK, its own id and its own numbers."""
    rows = distinct_rows(CALLERS, seed=1)
    with ExitStack() as stack:
        stubs = [stack.enter_context(hot_mesh.inference()) for _ in range(CONNECTIONS)]
        calls = [
            stubs[number % CONNECTIONS].ModelInfer.future(
                linear_request(rows[number : number + 1], f"caller-{number}"),
                timeout=CALL_TIMEOUT_S,
                metadata=bearer(hot_mesh.demo_token),
            )
            for number in range(CALLERS)
        ]
        codes = [call.code() for call in calls]
        assert codes == [grpc.StatusCode.OK] * CALLERS
        answers = [call.result() for call in calls]
    assert [answer.id for answer in answers] == [f"caller-{number}" for number in range(CALLERS)]
    found = np.concatenate([output(answer, "y") for answer in answers])
    np.testing.assert_allclose(found, linear(rows), rtol=1e-5, atol=1e-6)
    assert sizes_of(calls) != {1}, "nothing was batched"


def sizes_of(calls: "Sequence[grpc.CallFuture[ModelInferResponse]]") -> set[int]:
    """The sizes of the batches in which the calls were executed."""
    trailers = [dict(call.trailing_metadata()) for call in calls]
    return {int(trailer["headrace-batch-size"]) for trailer in trailers}


def test_concurrent_rest_requests_get_their_own_answers(hot_mesh: Mesh, linear: Linear) -> None:
    """100 REST calls, 16 at a time on shared connections, each get their own numbers."""
    rows = distinct_rows(REST_CALLERS, seed=2)
    with hot_mesh.http(hot_mesh.demo_token) as client, ThreadPoolExecutor(16) as threads:

        def ask(number: int) -> list[float]:
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": rows[number].tolist()}
            body = {"id": f"caller-{number}", "inputs": [tensor]}
            answer = client.post("/v2/models/linear/infer", json=body).raise_for_status().json()
            assert answer["id"] == f"caller-{number}"
            data: list[float] = answer["outputs"][0]["data"]
            return data

        found = np.array(list(threads.map(ask, range(REST_CALLERS))))
    np.testing.assert_allclose(found, linear(rows), rtol=1e-5, atol=1e-6)


def test_two_replicas_share_the_callers(mesh_of: MeshOf, linear: Linear) -> None:
    """Of concurrent calls both replicas answer some, and every answer is its caller's."""
    mesh, rows = mesh_of(TWO_REPLICAS), distinct_rows(200, seed=4)
    expected = linear(rows)
    replicas: set[str | bytes] = set()
    with mesh.inference() as stub:

        def both_answered() -> bool:
            calls = [
                stub.ModelInfer.future(
                    linear_request(row[None]), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
                )
                for row in rows
            ]
            found = np.concatenate([output(call.result(), "y") for call in calls])
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
            replicas.update(dict(call.trailing_metadata())["headrace-replica"] for call in calls)
            return replicas == {"inference-0", "inference-1"}

        # `up` is ready with the first replica in rotation; the second follows at its first health check.
        eventually(both_answered, "both replicas answer")
