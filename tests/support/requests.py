"""Inference requests as tests send them, and what is right to answer."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from tests.support.models import SLOW

Floats = NDArray[np.float32]

DATATYPES = {"FP32": np.float32, "INT64": np.int64, "INT32": np.int32}


class Linear:
    """`linear` computed from the weights in its ONNX file by onnx's own reference, without ONNX Runtime."""

    def __init__(self, models: Path) -> None:
        (file,) = (models / "linear").glob("*/model.onnx")
        self._evaluator = ReferenceEvaluator(onnx.load(file))

    def __call__(self, x: Floats) -> Floats:
        (y,) = self._evaluator.run(None, {"x": x})
        return np.asarray(y, np.float32)


def distinct_rows(count: int, seed: int = 0) -> Floats:
    """Inputs of `linear`, no two alike."""
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


def linear(x: Floats, request_id: str = "", model: str = "linear") -> ModelInferRequest:
    """A request of `linear`, or of a model that takes the same."""
    return request_of(model, {"x": ("FP32", x)}, request_id)


def slow(steps: int, row: float = 0.0, *, poison: bool = False) -> ModelInferRequest:
    """A request that computes for about 0.4 ms a step and answers its row; poison fails its batch."""
    inputs = {
        "rows": ("FP32", np.array([[row]])),
        "steps": ("INT64", np.array([[steps]])),
        "poison": ("INT64", np.array([[int(poison)]])),
    }
    return request_of(SLOW, inputs)


def text(model: str, name: str, texts: list[bytes]) -> ModelInferRequest:
    """A request of one BYTES input, in the raw form: each text behind its length."""
    raw = b"".join(len(value).to_bytes(4, "little") + value for value in texts)
    request = ModelInferRequest(model_name=model, raw_input_contents=[raw])
    request.inputs.add(name=name, datatype="BYTES", shape=[len(texts)])
    return request


def request_of(
    model: str, inputs: dict[str, tuple[str, NDArray[np.generic]]], request_id: str = ""
) -> ModelInferRequest:
    """A request with its tensors in the raw form, as tritonclient sends them."""
    request = ModelInferRequest(model_name=model, id=request_id)
    for name, (datatype, array) in inputs.items():
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(np.ascontiguousarray(array, DATATYPES[datatype]).tobytes())
    return request


def output(answer: ModelInferResponse, name: str) -> NDArray[Any]:
    """An output of an answer, from its raw form."""
    names = [tensor.name for tensor in answer.outputs]
    tensor = answer.outputs[names.index(name)]
    raw = answer.raw_output_contents[names.index(name)]
    return np.frombuffer(raw, DATATYPES[tensor.datatype]).reshape(tuple(tensor.shape))
