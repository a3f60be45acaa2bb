"""`magika`: Google's file-type classifier, from its wheel, under the names of our contract."""

from pathlib import Path

import onnx

_MODEL = Path("models/standard_v3_3/model.onnx")
INPUT = "bytes"
OUTPUT = "scores"


def build(wheel: Path) -> onnx.ModelProto:
    """The model: input `bytes` INT32 [N, 2048] (the wheel's token of padding is 256), output `scores` FP32 [N, 214]."""
    model = onnx.load(wheel / _MODEL)
    _rename(model.graph, model.graph.input[0].name, INPUT)
    _rename(model.graph, model.graph.output[0].name, OUTPUT)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    return model


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Renames a value wherever it stands; a value that already has the new name makes way."""
    if old == new:
        return
    names = {old: new, new: f"value/{new}"}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for weight in graph.initializer:
        weight.name = names.get(weight.name, weight.name)
