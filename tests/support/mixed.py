"""`mixed`: a model of requests of every size, length and priority, whose time follows from what it is asked.

`ids` and `mask` (INT64 [N, L]) are padded together; `total` (INT64 [N, 1]) is
the exact sum of each row's attended ids, so that no two answers are alike. Each
position costs about 15 us of one core. A row whose `poison` (INT64 [N, 1]) is not
0 makes ONNX Runtime fail the whole batch that it is in.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from tests.support.requests import request_of
from tests.support.small import as_model, write_onnx

MIXED = "mixed"
MAX_ROWS = 8
LONGEST = 256
LEVELS = 3
FULL_AT = 12
"""Requests that may wait at the highest priority."""

WIDE = 512
TURNS = 6
CONFIG = f"""\
max_batch_size: {MAX_ROWS}
input [
  {{ name: "ids" data_type: TYPE_INT64 dims: -1 }},
  {{ name: "mask" data_type: TYPE_INT64 dims: -1 }},
  {{ name: "poison" data_type: TYPE_INT64 dims: 1 }}
]
output {{ name: "total" data_type: TYPE_INT64 dims: 1 }}
instance_group {{ count: 2 kind: KIND_CPU }}
dynamic_batching {{
  preferred_batch_size: 4
  priority_levels: {LEVELS}
  default_priority_level: 2
  default_queue_policy {{ allow_timeout_override: true }}
  priority_queue_policy {{ key: 1 value {{ max_queue_size: {FULL_AT} allow_timeout_override: true }} }}
  priority_queue_policy {{
    key: 3
    value {{ timeout_action: DELAY default_timeout_microseconds: 300000 allow_timeout_override: true }}
  }}
}}
parameters {{ key: "headrace_ragged.ids" value {{ string_value: "0" }} }}
parameters {{ key: "headrace_ragged.mask" value {{ string_value: "0" }} }}
parameters {{ key: "headrace_mask" value {{ string_value: "mask" }} }}
parameters {{ key: "headrace_longest.ids" value {{ string_value: "{LONGEST}" }} }}
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """One request's inputs, and what is right to answer."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    poisoned: bool

    @property
    def total(self) -> NDArray[np.int64]:
        """Computed here, without the model."""
        summed: NDArray[np.int64] = (self.ids * self.mask).sum(axis=1, keepdims=True)
        return summed

    def request(self, request_id: str) -> ModelInferRequest:
        """Of several rows only the last one is poison."""
        poison = np.zeros((len(self.ids), 1), np.int64)
        poison[-1] = int(self.poisoned)
        return request_of(
            MIXED,
            {"ids": ("INT64", self.ids), "mask": ("INT64", self.mask), "poison": ("INT64", poison)},
            request_id,
        )


def repository_with_mixed(built: Path, folder: Path) -> Path:
    """A copy of a mesh's repository, with `mixed` in it."""
    shutil.copytree(built, folder)
    write_onnx(folder, MIXED, _model(), config=CONFIG)
    return folder


def _model() -> onnx.ModelProto:
    rotation = np.linalg.qr(np.random.default_rng(7).standard_normal((WIDE, WIDE)))[0].astype(np.float32)
    turns = [helper.make_node("MatMul", [f"m{n}", "rotation"], [f"m{n + 1}"]) for n in range(TURNS)]
    constants: dict[str, NDArray[Any]] = {
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "both": np.array([1, 2], np.int64),
        "row": np.ones((1, WIDE), np.float32),
        "rotation": rotation,
        "nothing": np.array(0, np.float32),
        "table": np.zeros(1, np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["ids", "mask"], ["attended"]),
            helper.make_node("ReduceSum", ["attended", "one"], ["sum"], keepdims=1),
            helper.make_node("Cast", ["mask"], ["cells"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["cells", "two"], ["column"]),
            helper.make_node("MatMul", ["column", "row"], ["m0"]),
            *turns,
            # The products must reach the output, or a runtime may leave them out.
            helper.make_node("ReduceMax", [f"m{TURNS}", "both"], ["peak"], keepdims=1),
            helper.make_node("Squeeze", ["peak", "two"], ["flat"]),
            helper.make_node("Mul", ["flat", "nothing"], ["noise"]),
            helper.make_node("Cast", ["noise"], ["zero"], to=TensorProto.INT64),
            # A look-up in a table of one: any other place is a failure.
            helper.make_node("Gather", ["table", "poison"], ["none"], axis=0),
            helper.make_node("Add", ["sum", "zero"], ["nearly"]),
            helper.make_node("Add", ["nearly", "none"], ["total"]),
        ],
        MIXED,
        [_tensor("ids", "length"), _tensor("mask", "length"), _tensor("poison", 1)],
        [_tensor("total", 1)],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return as_model(graph)


def _tensor(name: str, columns: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", columns])
