"""`linear`, whose answers a client can check."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

from headrace.inference.demo import linear

SessionOf = Callable[[str], ort.InferenceSession]

# W[0] and b, times 64.
GOLDEN_ROW = [-2, -24, -27, 10]
GOLDEN_BIAS = [-60, -12, -54, 11]


@pytest.mark.parametrize("model", ["linear", "linear-cached"])
def test_it_computes_x_w_plus_b(session_of: SessionOf, model: str) -> None:
    """Bit for bit, where the inputs have few bits."""
    x = np.random.default_rng(7).integers(-512, 513, (32, 16)).astype(np.float32) / 64
    w, b = linear.weights()
    (y,) = session_of(model).run(["y"], {"x": x})
    np.testing.assert_array_equal(y, x @ w + b)


def test_its_weights_never_change() -> None:
    """Clients and benches elsewhere hold copies of them."""
    w, b = linear.weights()
    assert w.shape == (linear.INPUTS, linear.OUTPUTS)
    np.testing.assert_array_equal(w[0] * 64, GOLDEN_ROW)
    np.testing.assert_array_equal(b * 64, GOLDEN_BIAS)
