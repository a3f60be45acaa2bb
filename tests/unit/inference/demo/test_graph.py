"""The names of a written graph."""

import onnx
import pytest
from onnx import TensorProto

from headrace.inference.demo import linear
from headrace.inference.demo.graph import GraphWriter


def test_no_internal_value_has_an_outer_name() -> None:
    """ONNX Runtime refuses such a graph: "Duplicate definition of name"."""
    graph = linear.build().graph
    outer = {value.name for value in (*graph.input, *graph.output)}
    inner = [name for node in graph.node[:-1] for name in node.output]
    assert outer == {"x", "y"}
    assert not outer & {*inner, *(weight.name for weight in graph.initializer)}


def test_a_graph_that_does_not_add_up_is_refused() -> None:
    """A value that nothing defines is found when the model is made, not when it is served."""
    graph = GraphWriter("broken")
    graph.output("y", graph.add("Relu", "nothing"), TensorProto.FLOAT, ["batch"])
    with pytest.raises(onnx.checker.ValidationError):
        graph.model()
