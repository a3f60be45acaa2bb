"""KServe's first protocol: rows and columns to tensors, and answers back."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.answers import Asked, Inference
from headrace.inference.batcher import Outcome
from headrace.inference.core.tensors import Signature, TensorSpec, join_strings
from headrace.inference.execution import Answer, Work
from headrace.inference.predict import parse_predict, write_predictions
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.errors import HeadraceError

X = TensorSpec("x", "FP32", (2,))
Y = TensorSpec("y", "FP32", (2,))
TEXT = TensorSpec("text", "BYTES", ())
ONE = Signature("m", (X,), (Y,), 4)
TWO = Signature("m", (X, TEXT), (Y, TEXT), 4)
WHOLE = Signature("m", (X,), (Y,), 0)
TEXTS = Signature("m", (TEXT,), (TEXT,), 4)


def parsed(signature: Signature, document: Any) -> ModelInferRequest:
    return parse_predict(json.dumps(document).encode(), signature).request


def refused(signature: Signature, data: bytes) -> tuple[str, str]:
    with pytest.raises(HeadraceError) as error:
        parse_predict(data, signature)
    assert error.value.reason == "BODY_INVALID"
    (violation,) = error.value.violations
    return violation.field, violation.description


def raw(*values: float) -> bytes:
    return np.array(values, np.float32).tobytes()


@pytest.mark.parametrize(
    "document",
    [
        {"instances": [[1, 2], [3, 4.0]]},
        {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]},
        {"inputs": {"x": [[1, 2], [3, 4]]}},
        {"inputs": [[1, 2], [3, 4]], "signature_name": "serving_default"},
    ],
)
def test_rows_and_columns_are_the_same_tensor(document: dict[str, Any]) -> None:
    """With the only input's name and without; the shape is that of the lists."""
    request = parsed(ONE, document)
    assert [(one.name, one.datatype, list(one.shape)) for one in request.inputs] == [("x", "FP32", [2, 2])]
    assert list(request.raw_input_contents) == [raw(1, 2, 3, 4)]


def test_instances_with_several_inputs_are_columns_of_each() -> None:
    """Each row has a value of each input."""
    rows = [{"x": [1, 2], "text": "a"}, {"text": {"b64": "/w=="}, "x": [3, 4]}]
    request = parsed(TWO, {"instances": rows, "parameters": {"priority": 2}})
    assert {one.name: list(one.shape) for one in request.inputs} == {"x": [2, 2], "text": [2]}
    assert dict(zip([one.name for one in request.inputs], request.raw_input_contents, strict=True)) == {
        "x": raw(1, 2, 3, 4),
        "text": join_strings([b"a", b"\xff"]),
    }
    assert request.parameters["priority"].int64_param == 2


def test_texts_are_values() -> None:
    """An object of base64 is one too, not the inputs by name."""
    request = parsed(TEXTS, {"instances": ["a", {"b64": "Yg=="}]})
    assert list(request.raw_input_contents) == [join_strings([b"a", b"b"])]
    assert list(parsed(TEXTS, {"inputs": ["a"]}).inputs[0].shape) == [1]


@pytest.mark.parametrize(
    ("signature", "document", "field", "words"),
    [
        (ONE, {}, "body", "either instances or inputs"),
        (ONE, {"instances": [[1, 2]], "inputs": [[1, 2]]}, "body", "either instances or inputs"),
        (ONE, {"instances": []}, "instances", "at least one"),
        (ONE, {"instance": [[1, 2]]}, "body", "instance"),
        (ONE, {"instances": [[1, 2]], "signature_name": "other"}, "signature_name", "serving_default"),
        (ONE, {"instances": [[1, 2], [3]]}, "instances", "one length"),
        (ONE, {"instances": [[1, 2], 3]}, "instances", "one length"),
        (ONE, {"instances": [["1", "2"]]}, "instances", "FP32 values"),
        (ONE, {"instances": [[1e39, 2]]}, "instances", "FP32's range"),
        (ONE, {"instances": [[None, 2]]}, "instances", "FP32 values"),
        (ONE, {"instances": [[[[[[[[[[[1]]]]]]]]]]]}, "instances", "nested"),
        (ONE, {"instances": [{"z": [1, 2]}]}, "instances[].z", "got 'z'"),
        (ONE, {"inputs": {"z": [[1, 2]]}}, "inputs.z", "got 'z'"),
        (ONE, {"inputs": {"x": [[1], [2, 3]]}}, "inputs.x", "one length"),
        (TWO, {"instances": [[1, 2]]}, "instances", "['x', 'text']"),
        (TWO, {"inputs": [[1, 2]]}, "inputs", "['x', 'text']"),
        (TWO, {"instances": [{"x": [1, 2], "text": "a"}, {"x": [1, 2]}]}, "instances[1]", "same inputs"),
        (TWO, {"instances": [{"x": [1, 2], "text": "a"}, [1, 2]]}, "instances[1]", "same inputs"),
        (TEXTS, {"instances": [1]}, "instances", "expected strings"),
        (TEXTS, {"instances": [{"b64": "_"}]}, "instances", "base64"),
        (ONE, {"instances": [[1, 2]], "parameters": {"big": 2**70}}, "parameters.big", "64-bit"),
    ],
)
def test_mistakes_name_their_place(signature: Signature, document: Any, field: str, words: str) -> None:
    """What was expected there, before anything is executed."""
    found = refused(signature, json.dumps(document).encode())
    assert found[0] == field
    assert words in found[1]


def written(signature: Signature, body: Any, shapes: Any, values: Any, outputs: tuple[int, ...]) -> Any:
    model = SimpleNamespace(name="m", version="1", backend=SimpleNamespace(signature=signature))
    asked = Asked(Work(1, [], []), outputs, {}, 0.0)
    outcome = Outcome(Answer(shapes, values), 0, 0, 1, 0, 0)
    form = parse_predict(json.dumps(body).encode(), signature)
    return json.loads(write_predictions(form, Inference(cast("Any", model), asked, outcome=outcome)).data)


def test_answers_have_the_form_of_their_requests() -> None:
    """Rows for rows, columns for columns, names where there are several outputs."""
    rows, columns = {"instances": [[1, 2], [3, 4]]}, {"inputs": [[1, 2], [3, 4]]}
    given: tuple[Any, ...] = ([(2, 2)], [raw(5, 6, 7, float("nan"))], (0,))
    assert written(ONE, rows, *given) == {"predictions": [[5, 6], [7, None]]}
    assert written(ONE, columns, *given) == {"outputs": [[5, 6], [7, None]]}
    both: tuple[Any, ...] = ([(2, 2), (2,)], [raw(5, 6, 7, 8), join_strings([b"a", b"\xff"])], (0, 1))
    named = {"instances": [{"x": [1, 2], "text": "a"}] * 2}
    assert written(TWO, named, *both) == {
        "predictions": [{"y": [5, 6], "text": "a"}, {"y": [7, 8], "text": {"b64": "/w=="}}]
    }
    assert written(TWO, {"inputs": {"x": [[1, 2]]}}, *both) == {
        "outputs": {"y": [[5, 6], [7, 8]], "text": ["a", {"b64": "/w=="}]}
    }


def test_a_model_without_a_batch_dimension_takes_and_gives_whole_tensors() -> None:
    """There are no rows to speak of."""
    assert list(parsed(WHOLE, {"instances": [1, 2]}).inputs[0].shape) == [2]
    assert written(WHOLE, {"instances": [1, 2]}, [()], [raw(5)], (0,)) == {"predictions": 5}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
def test_nested_answers_have_the_tensors_shape(shape: list[int], data: st.DataObject) -> None:
    """Of any rank, with sizes of nothing too; what was nested comes back flat."""
    count = int(np.prod(shape))
    values = np.array(data.draw(st.lists(st.integers(0, 99), min_size=count, max_size=count)), np.float32)
    tensor = values.reshape(shape)
    found = written(ONE, {"inputs": [[1, 2]]}, [tuple(shape)], [tensor.tobytes()], (0,))
    assert found == {"outputs": tensor.tolist()}
