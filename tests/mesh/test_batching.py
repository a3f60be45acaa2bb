"""Rows 12 and 14 through the whole mesh: batches never mix answers, one bad item fails alone."""

import time
from typing import Any

import grpc
import numpy as np

from tests.support.mesh import CALL_TIMEOUT_S, Mesh, bearer
from tests.support.requests import Linear, distinct_rows, output, slow
from tests.support.requests import linear as linear_request

REQUESTS = 300


def test_requests_of_several_rows_get_their_own_rows(mesh: Mesh, linear: Linear) -> None:
    """300 concurrent requests of 1 to 7 rows, a third of them cancelled: every answer is its caller's rows."""
    rng = np.random.default_rng(12)
    inputs = [distinct_rows(int(rng.integers(1, 8)), seed=number) for number in range(REQUESTS)]
    with mesh.inference() as stub:
        calls = [
            stub.ModelInfer.future(
                linear_request(x), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.demo_token)
            )
            for x in inputs
        ]
        for call in calls[::3]:
            call.cancel()
        for number, (call, x) in enumerate(zip(calls, inputs, strict=True)):
            if number % 3 or not call.cancelled():
                np.testing.assert_allclose(output(call.result(), "y"), linear(x), rtol=1e-5, atol=1e-6)


def test_poisoned_request_fails_alone(hot_mesh: Mesh) -> None:
    """Of the requests that wait for one batch, the one that makes the model fail gets INTERNAL, the others answers."""
    with hot_mesh.inference() as stub:
        metadata = bearer(hot_mesh.demo_token)
        ahead = stub.ModelInfer.future(slow(1000), timeout=CALL_TIMEOUT_S, metadata=metadata)
        time.sleep(0.1)  # it has to be at the model, so that what follows is batched
        calls = [
            stub.ModelInfer.future(slow(1, row, poison=row == 3), timeout=CALL_TIMEOUT_S, metadata=metadata)
            for row in range(8)
        ]
        poisoned = calls.pop(3)
        assert poisoned.code() is grpc.StatusCode.INTERNAL
        assert [call.code() for call in calls] == [grpc.StatusCode.OK] * 7
        assert [output(call.result(), "rows_out").item() for call in calls] == [0, 1, 2, 4, 5, 6, 7]
        assert ahead.exception() is None
        assert_nothing_leaks(poisoned)


def assert_nothing_leaks(call: Any) -> None:
    """What went wrong inside the model is for the log, not for the caller."""
    assert call.details() == "model 'slow' failed on this request"
    assert "onnx" not in str(call.trailing_metadata()).lower()
