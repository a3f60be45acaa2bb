"""Writes ONNX graphs node by node.

Every intermediate value gets a name of its own with a prefix that no input or
output has: ONNX Runtime refuses a graph in which an output's name is also an
internal value's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10  # of onnx 1.16, so that older runtimes load the models too

Dims = Sequence[int | str]
Attribute = int | float | Sequence[int]


class GraphWriter:
    """Collects inputs, weights, nodes and outputs, in that order of use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, element: TensorProto.DataType, dims: Dims) -> str:
        """Declares a graph input; returns its name."""
        self._inputs.append(helper.make_tensor_value_info(name, element, dims))
        return name

    def weight(self, array: npt.NDArray[np.generic]) -> str:
        """Adds a constant; returns its name."""
        name = f"weight/{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def integers(self, *values: int) -> str:
        """Adds a one-dimensional INT64 constant; returns its name."""
        return self.weight(np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """Adds a FP32 scalar; returns its name."""
        return self.weight(np.array(value, np.float32))

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Adds a node with one output; returns the output's name."""
        return self.split(operator, *inputs, outputs=1, **attributes)[0]

    def split(self, operator: str, *inputs: str, outputs: int, **attributes: Attribute) -> list[str]:
        """Adds a node with several outputs; returns their names."""
        names = [f"value/{len(self._nodes)}/{index}" for index in range(outputs)]
        node = helper.make_node(operator, inputs, names)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return names

    def output(self, name: str, value: str, element: TensorProto.DataType, dims: Dims) -> None:
        """Declares `value` a graph output under `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, element, dims))

    def model(self) -> onnx.ModelProto:
        """The finished model, checked."""
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._weights)
        model = helper.make_model(
            graph,
            producer_name="headrace",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model)
        return model
