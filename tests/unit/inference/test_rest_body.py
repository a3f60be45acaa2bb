"""HTTP bodies of the Open Inference Protocol."""

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
from headrace.inference.rest_body import parse_body, write_body
from headrace.runtime.errors import HeadraceError


def body(**tensor: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2], **tensor}]}


def parsed(document: Any, header_length: str = "") -> Any:
    return parse_body(json.dumps(document).encode(), header_length).request


def refused(data: bytes, header_length: str = "") -> tuple[str, str]:
    with pytest.raises(HeadraceError) as error:
        parse_body(data, header_length)
    assert error.value.reason == "BODY_INVALID"
    (violation,) = error.value.violations
    return violation.field, violation.description


def test_json_tensors_become_raw_ones() -> None:
    """Flat and nested lists alike, in row-major order."""
    raw = np.array([[1, 2]], np.float32).tobytes()
    for data in ([1, 2.0], [[1.0, 2]]):
        request = parsed(body(data=data))
        assert list(request.raw_input_contents) == [raw]
        assert list(request.inputs[0].shape) == [1, 2]


def test_binary_tensors_follow_the_json_header() -> None:
    """Each takes its binary_data_size, in order."""
    head = json.dumps(
        {
            "id": "a",
            "inputs": [
                {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
                {"name": "j", "shape": [1], "datatype": "INT8", "data": [5]},
                {"name": "y", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}},
            ],
        }
    ).encode()
    request = parse_body(head + b"aaaabbbb", str(len(head))).request
    assert list(request.raw_input_contents) == [b"aaaa", b"\x05", b"bbbb"]
    assert request.id == "a"


@pytest.mark.parametrize(
    ("document", "field", "words"),
    [
        (body(data=[1]), "inputs[0].data", "expected 2 elements"),
        (body(data=[1, 2, 3]), "inputs[0].data", "got more"),
        (body(data="12"), "inputs[0].data", "expected a list"),
        (body(data=["1", "2"]), "inputs[0].data", "expected FP32 values"),
        (body(data=[True, False]), "inputs[0].data", "expected FP32 values"),
        (body(datatype="INT8", data=[1, 300]), "inputs[0].data", "INT8's range"),
        (body(datatype="INT8", data=[1, 2.5]), "inputs[0].data", "expected INT8 values"),
        (body(datatype="FP99"), "inputs[0].datatype", "got 'FP99'"),
        (body(datatype="BYTES"), "inputs[0].data", "expected strings"),
        (body(shape=[-1, 2]), "inputs[0].shape", "0 or more"),
        (body(shape=[2**30, 2**30]), "inputs[0].shape", "elements"),
        (body(shape=[1] * 9), "inputs[0].shape", "up to 8"),
        (body(data=[[[[[[[[[[1, 2]]]]]]]]]]), "inputs[0].data", "nested"),
        (body(parameters={"binary_data_size": 8}), "inputs[0].parameters.binary_data_size", "no data"),
        ({"inputs": []} | {"parameters": {"big": 2**70}}, "parameters.big", "64-bit"),
        ({}, "body", "inputs"),
        ([], "body", "object"),
        (body(name=3), "body", "$.inputs[0].name"),
    ],
)
def test_a_mistake_is_named_by_its_path(document: Any, field: str, words: str) -> None:
    """Field, expectation, and what came."""
    where, why = refused(json.dumps(document).encode())
    assert where == field
    assert words in why


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 250_000, b'{"inputs":' + b"[" * 5000, b"\xff\xfe"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Depth and length kill nothing."""
    assert refused(data)[0] == "body"


@pytest.mark.parametrize("length", ["x", "-1", "99999999999999999999", "1e3"])
def test_a_header_length_that_cannot_be_is_refused(length: str) -> None:
    """It must lie within the body."""
    assert refused(json.dumps(body()).encode(), length)[0] == "inference-header-content-length"


def test_bytes_behind_the_last_tensor_are_refused() -> None:
    """A wrong size never shifts somebody's data in silence."""
    head = json.dumps(body()).encode()
    assert "3 bytes behind" in refused(head + b"abc", str(len(head)))[1]


@given(st.binary(max_size=200), st.sampled_from(["", "10", "0"]))
def test_any_bytes_end_in_an_error_of_ours(data: bytes, length: str) -> None:
    """Or in a request; never in anything else."""
    reason = "BODY_INVALID"
    try:
        parse_body(data, length)
    except HeadraceError as error:
        reason = error.reason
    assert reason == "BODY_INVALID"


SIGNATURE = Signature("m", (), (TensorSpec("y", "FP32", (2,)), TensorSpec("t", "BYTES", ())), 4)


def inference(y: list[float]) -> Inference:
    model = SimpleNamespace(name="m", version="1", backend=SimpleNamespace(signature=SIGNATURE))
    values: list[bytes | memoryview] = [np.array(y, np.float32).tobytes(), join_strings([b"hi"])]
    outcome = Outcome(Answer([(1, 2), (1,)], values), 0, 0, 1, 0, 0)
    return Inference(cast("Any", model), Asked(Work(1, [], []), (0, 1), {}, 0.0), outcome=outcome)


def test_answers_are_plain_json() -> None:
    """Numbers as numbers; NaN and infinities as null, because JSON has no word for them."""
    asked = parse_body(json.dumps(body() | {"id": "q"}).encode(), "")
    written = write_body(asked, inference([1.5, float("nan")]))
    assert written.header_length is None
    assert len(written) == len(written.data)
    assert json.loads(written.data) == {
        "model_name": "m",
        "model_version": "1",
        "id": "q",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, None]},
            {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["hi"]},
        ],
    }


def test_binary_answers_follow_their_header() -> None:
    """For all outputs, or for the one that asks."""
    chosen = {"outputs": [{"name": "y", "parameters": {"binary_data": True}}, {"name": "t"}]}
    written = write_body(parse_body(json.dumps(body() | chosen).encode(), ""), inference([1, 2]))
    assert written.header_length is not None
    head = json.loads(written.data[: written.header_length])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert head["outputs"][1]["data"] == ["hi"]
    assert written.data[written.header_length :] == np.array([1, 2], np.float32).tobytes()
