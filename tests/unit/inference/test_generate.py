"""Triton's generate extension: fields to inputs and parameters, and outputs to fields."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from headrace.inference.answers import Asked, Inference
from headrace.inference.batcher import Outcome
from headrace.inference.core.tensors import Signature, TensorSpec, join_strings
from headrace.inference.execution import Answer, Work
from headrace.inference.generate import parse_generate, write_generated
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.errors import HeadraceError

INPUTS = (
    TensorSpec("text_input", "BYTES", (1,)),
    TensorSpec("n", "INT32", (1,)),
    TensorSpec("grid", "FP32", (-1, 2, -1)),
)
SIGNATURE = Signature(
    "m", INPUTS, (TensorSpec("text_output", "BYTES", (1,)), TensorSpec("y", "FP32", (-1,))), 4
)
FLAT = Signature("m", (TensorSpec("x", "FP32", (2,)),), (), 0)


def parsed(document: Any, signature: Signature = SIGNATURE) -> ModelInferRequest:
    return parse_generate(json.dumps(document).encode(), signature)


def inputs(request: ModelInferRequest) -> dict[str, tuple[list[int], bytes]]:
    return {
        tensor.name: (list(tensor.shape), value)
        for tensor, value in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def test_fields_are_inputs_by_their_names() -> None:
    """At the top and in `parameters`; one value is one row, a list fills the innermost free dimension."""
    request = parsed({"text_input": "hi", "parameters": {"n": 7}, "grid": [1, 2, 3, 4, 5, 6], "id": "mine"})
    assert request.id == "mine"
    assert inputs(request) == {
        "text_input": ([1, 1], join_strings([b"hi"])),
        "n": ([1, 1], np.int32(7).tobytes()),
        "grid": ([1, 1, 2, 3], np.arange(1, 7, dtype=np.float32).tobytes()),
    }
    assert inputs(parsed({"x": [1, 2]}, FLAT)) == {"x": ([2], np.array([1, 2], np.float32).tobytes())}
    assert inputs(parsed({"n": [1, 2, 3]}))["n"][0] == [3, 1]


def test_other_fields_are_parameters() -> None:
    """Of each kind; the model may know them or not."""
    request = parsed({"stream": False, "parameters": {"temperature": 0.5, "id": "other"}, "seed": 3})
    assert not request.inputs
    assert request.id == ""
    assert request.parameters["stream"].WhichOneof("parameter_choice") == "bool_param"
    assert request.parameters["temperature"].double_param == 0.5
    assert request.parameters["seed"].int64_param == 3
    assert request.parameters["id"].string_param == "other"


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        ({"text_input": 1}, "text_input", "expected strings"),
        ({"text_input": {"a": 1}}, "text_input", "flat list"),
        ({"n": [[1]]}, "n", "flat list"),
        ({"n": "1"}, "n", "INT32 values"),
        ({"n": 2**40}, "n", "INT32's range"),
        ({"n": None}, "n", "INT32 values"),
        ({"grid": [1, 2, 3]}, "grid", "3 values don't fill"),
        ({"n": 1, "parameters": {"n": 1}}, "parameters.n", "twice"),
        ({"parameters": 1}, "parameters", "an object"),
        ({"other": None}, "other", "a parameter"),
        ({"other": [1]}, "other", "a parameter"),
        ({"id": 5}, "id", "a text"),
        ({"big": 2**70}, "parameters.big", "64-bit"),
        ([1], "body", "object"),
    ],
)
def test_mistakes_name_their_place(document: Any, field: str, words: str) -> None:
    """What was expected there."""
    with pytest.raises(HeadraceError) as error:
        parsed(document)
    assert error.value.reason == "BODY_INVALID"
    (violation,) = error.value.violations
    assert violation.field == field
    assert words in violation.description


def test_too_few_values_for_a_model_without_rows() -> None:
    """Nothing is free to take more or fewer."""
    with pytest.raises(HeadraceError, match="4 values don't fill"):
        parsed({"x": [1, 2, 3, 4]}, FLAT)


def test_outputs_are_fields() -> None:
    """Flat; one value stands by itself; what is told of the answer is beside them."""
    model = SimpleNamespace(name="m", version="3", backend=SimpleNamespace(signature=SIGNATURE))
    values: list[bytes | memoryview] = [join_strings([b"out"]), np.array([1, 2], np.float32).tobytes()]
    outcome = Outcome(Answer([(1, 1), (1, 2)], values), 0, 0, 1, 0, 0)
    asked = Asked(Work(1, [], []), (0, 1), {}, 0.0)
    written = write_generated("mine", Inference(cast("Any", model), asked, outcome=outcome))
    whole = {"model_name": "m", "model_version": "3", "id": "mine", "text_output": "out", "y": [1.0, 2.0]}
    assert json.loads(written.data) == whole
    assert written.with_fields({}) is written
    assert json.loads(written.with_fields({"headrace_batch_size": 1}).data) == {
        **whole,
        "headrace_batch_size": 1,
    }
