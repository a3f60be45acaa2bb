"""`linear`: y = x W + b, the smallest model worth serving; it measures the mesh around it."""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from headrace.inference.demo.graph import GraphWriter

INPUTS = 16
OUTPUTS = 4
_SEED = 20261122


def weights() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """W [16, 4] and b [4]: the same on every machine, so that a client can check its answers.

    Multiples of 1/64 in [-1, 1]: with inputs of few bits every sum is exact in FP32.
    """
    draw = np.random.RandomState(_SEED)  # its stream is frozen by numpy's policy; default_rng's is not
    w = draw.randint(-64, 65, size=(INPUTS, OUTPUTS)) / 64
    b = draw.randint(-64, 65, size=OUTPUTS) / 64
    return w.astype(np.float32), b.astype(np.float32)


def build() -> onnx.ModelProto:
    """The model: input `x` FP32 [N, 16], output `y` FP32 [N, 4]."""
    w, b = weights()
    graph = GraphWriter("linear")
    x = graph.input("x", TensorProto.FLOAT, ["batch", INPUTS])
    product = graph.add("MatMul", x, graph.weight(w))
    graph.output("y", graph.add("Add", product, graph.weight(b)), TensorProto.FLOAT, ["batch", OUTPUTS])
    return graph.model()
