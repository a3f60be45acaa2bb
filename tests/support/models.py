"""Models that only tests need, laid into a mesh's repository before it starts.

`slow` takes as long as its caller says: `steps` (INT64 [N,1]) is the number of
matrix products that a batch goes through, the largest of its rows. One step is
about 0.4 ms of one core. `rows` (FP32 [N,1]) comes back as `rows_out`,
so that answers can be told apart. A row whose `poison` (INT64 [N,1]) is not 0
makes ONNX Runtime fail the whole batch that it is in.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SLOW = "slow"
SIDE = 256

SLOW_CONFIG = """\
name: "slow"
backend: "onnxruntime"
max_batch_size: 8
input [
  { name: "rows" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "steps" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "poison" data_type: TYPE_INT64 dims: [ 1 ] }
]
output [ { name: "rows_out" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { max_queue_delay_microseconds: 0 }
"""


def write_models(repository: Path, copy_from: Path | None) -> None:
    """Lays the test's models into the repository, and copies what another mesh built already."""
    if copy_from is not None:
        shutil.copytree(copy_from, repository)
    _write(repository / SLOW, SLOW_CONFIG, slow_model())


def _write(folder: Path, config: str, model: onnx.ModelProto) -> None:
    version = folder / "1"
    version.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config)
    onnx.save(model, version / "model.onnx")


def slow_model() -> onnx.ModelProto:
    """A Loop of matrix products, whose trip count is an input."""
    rotation = np.linalg.qr(np.random.default_rng(7).standard_normal((SIDE, SIDE)))[0]
    zero_axis = np.array([0, 1], np.int64)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["steps", "axes"], ["trips"], keepdims=0),
            helper.make_node("Loop", ["trips", "", "start"], ["turned"], body=_turn()),
            # The product must reach the output, or a runtime may leave it out.
            helper.make_node("ReduceMax", ["turned", "axes"], ["peak"], keepdims=0),
            helper.make_node("Mul", ["peak", "nothing"], ["noise"]),
            # A look-up in a table of one: any other place is a failure.
            helper.make_node("Gather", ["table", "poison"], ["zeros"], axis=0),
            helper.make_node("Sum", ["rows", "noise", "zeros"], ["rows_out"]),
        ],
        "slow",
        [
            _tensor("rows", TensorProto.FLOAT),
            _tensor("steps", TensorProto.INT64),
            _tensor("poison", TensorProto.INT64),
        ],
        [_tensor("rows_out", TensorProto.FLOAT)],
        initializer=[
            numpy_helper.from_array(zero_axis, "axes"),
            numpy_helper.from_array(rotation.astype(np.float32), "rotation"),
            numpy_helper.from_array(np.eye(SIDE, dtype=np.float32), "start"),
            numpy_helper.from_array(np.array(0, np.float32), "nothing"),
            numpy_helper.from_array(np.zeros(1, np.float32), "table"),
        ],
    )
    return _model(graph)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, producer_name="headrace-tests", ir_version=9)
    onnx.checker.check_model(model)
    return model


def _turn() -> onnx.GraphProto:
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["matrix", "rotation"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("matrix", TensorProto.FLOAT, [SIDE, SIDE]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [SIDE, SIDE]),
        ],
    )


def _tensor(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", 1])
