"""Small models that give back what they get, of each kind of tensor; `as_model` checks each graph.

`echo` FP32 [N, n], `finite` the same but for NaN and infinities, `strings` of
BYTES [N, n], `scalar` FP32 without dimensions, `log` FP32 [N, 2] and `sum` of
two inputs, FP32 [N, 2] each.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.support.small import as_model, write_onnx

FLOAT, STRING = TensorProto.FLOAT, TensorProto.STRING

ECHO_CONFIG = """\
backend: "onnxruntime" max_batch_size: 8
input { name: "x" data_type: TYPE_%s dims: -1 }
output { name: "y" data_type: TYPE_%s dims: -1 }
"""
FINITE_CONFIG = ECHO_CONFIG + 'parameters { key: "headrace_finite" value { string_value: "true" } }'


def of_one_node(
    operation: str, dims: Sequence[str | int], kind: int = FLOAT, inputs: Sequence[str] = ("x",)
) -> onnx.ModelProto:
    """A model of one operation, whose tensors all have the same shape."""
    graph = helper.make_graph(
        [helper.make_node(operation, inputs, ["y"])],
        "one",
        [helper.make_tensor_value_info(name, kind, dims) for name in inputs],
        [helper.make_tensor_value_info("y", kind, dims)],
    )
    return as_model(graph)


def write_echoes(repository: Path) -> None:
    """Lays all of them into a repository."""
    echo = of_one_node("Identity", ["batch", "n"])
    write_onnx(repository, "echo", echo, config=ECHO_CONFIG % ("FP32", "FP32"))
    write_onnx(repository, "finite", echo, config=FINITE_CONFIG % ("FP32", "FP32"))
    strings = of_one_node("Identity", ["batch", "n"], STRING)
    write_onnx(repository, "strings", strings, config=ECHO_CONFIG % ("STRING", "STRING"))
    write_onnx(repository, "scalar", of_one_node("Identity", []))
    write_onnx(repository, "log", of_one_node("Log", ["batch", 2]))
    write_onnx(repository, "sum", of_one_node("Add", ["batch", 2], inputs=("a", "b")))
