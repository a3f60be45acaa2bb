"""Rows 12 and 14 through the whole mesh: batches never mix answers, one bad item fails alone."""

import time
from itertools import combinations
from typing import Any

import grpc
import numpy as np
import pytest

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


FULL = [
    *((size, (place,)) for size in range(1, 9) for place in range(size)),
    *((8, places) for places in combinations(range(8), 2)),
    *((8, tuple(set(range(8)) - {place})) for place in range(8)),
    (8, tuple(range(8))),
]
"""Every place in a batch of every size, every two of a full one, all but one, all."""


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([(8, (3,))], id="one"),
        pytest.param(FULL, id="all", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_poisoned_request_fails_alone(hot_mesh: Mesh, cases: list[tuple[int, tuple[int, ...]]]) -> None:
    """Of the requests that wait for one batch, those that make the model fail get INTERNAL, the others answers."""
    with hot_mesh.inference() as stub:
        metadata = bearer(hot_mesh.demo_token)
        for size, places in cases:
            ahead = stub.ModelInfer.future(slow(1000), timeout=CALL_TIMEOUT_S, metadata=metadata)
            time.sleep(0.1)  # it has to be at the model, so that what follows is batched
            calls = [
                stub.ModelInfer.future(
                    slow(1, row, poison=row in places), timeout=CALL_TIMEOUT_S, metadata=metadata
                )
                for row in range(size)
            ]
            good = [row for row in range(size) if row not in places]
            assert [row for row in range(size) if calls[row].code() is grpc.StatusCode.OK] == good, places
            assert [output(calls[row].result(), "rows_out").item() for row in good] == good
            assert ahead.exception() is None
            for row in places:
                assert calls[row].code() is grpc.StatusCode.INTERNAL
                assert_nothing_leaks(calls[row])


def assert_nothing_leaks(call: Any) -> None:
    """What went wrong inside the model is for the log, not for the caller."""
    assert call.details() == "model 'slow' failed on this request"
    assert "onnx" not in str(call.trailing_metadata()).lower()
