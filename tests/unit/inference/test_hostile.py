"""Whatever comes, what reads it answers with an error of the contract's or with a value, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.config import ConfigError, check_whole, config_of_json
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.decoder import Decoder
from headrace.inference.embeddings import wanted
from headrace.inference.generate import parse_generate
from headrace.inference.models import Models
from headrace.inference.observation import LogSettings
from headrace.inference.predict import parse_predict
from headrace.inference.rest_body import parse_body, parse_object
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.errors import HeadraceError
from headrace.runtime.logs import LogSwitch

SIGNATURE = Signature(
    "m",
    (
        TensorSpec("x", "FP32", (2,)),
        TensorSpec("t", "BYTES", (-1,)),
        TensorSpec("i", "INT64", (-1,), longest=5, within=(0, 9)),
    ),
    (TensorSpec("y", "FP32", (2,)),),
    4,
)
ONE_INPUT = Signature("m", SIGNATURE.inputs[:1], SIGNATURE.outputs, 4)
DECODER = Decoder(SIGNATURE)
LONGEST = 2000
"""Characters of an error's message: it leaves in a header, of which clients take a few KiB."""


def refusal(read: Callable[[], object]) -> HeadraceError | None:
    """What the caller is told; None when it was taken. Anything else that is raised fails the test."""
    try:
        read()
    except HeadraceError as error:
        return error
    return None


SIZES = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 5)
NAMES = st.sampled_from(["x", "t", "i", "y", ""]) | st.text(max_size=4)
DATATYPES = st.sampled_from(["FP32", "BYTES", "INT64", "FP16", "BF16", "BOOL", ""]) | st.text(max_size=4)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {"name": NAMES, "shape": st.lists(SIZES, max_size=10), "datatype": DATATYPES},
    optional={"data": JSON, "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "a"]), JSON)},
)
BODIES = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=4) | JSON},
    optional={"id": JSON, "parameters": JSON, "outputs": JSON, "model": JSON, "input": JSON},
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["x", "t", "i", "b64"]), JSON, max_size=3) | JSON, max_size=4)
FORMS = st.fixed_dictionaries(
    {},
    optional={"instances": ROWS | JSON, "parameters": JSON, "x": JSON, "t": JSON, "i": JSON, "id": JSON},
)


def requests() -> st.SearchStrategy[ModelInferRequest]:
    """Messages that protobuf takes and nobody would send."""

    @st.composite
    def made(draw: st.DrawFn) -> ModelInferRequest:
        request = ModelInferRequest(model_name="m", id=draw(st.text(max_size=3)))
        for _ in range(draw(st.integers(0, 4))):
            tensor = request.inputs.add(name=draw(NAMES), datatype=draw(DATATYPES))
            tensor.shape.extend(draw(st.lists(SIZES, max_size=10)))
            if draw(st.booleans()):
                tensor.contents.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
            if draw(st.booleans()):
                tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=4), max_size=4)))
        request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=24), max_size=4)))
        for name in draw(st.lists(NAMES, max_size=3)):
            request.outputs.add(name=name)
        return request

    return made()


@given(requests())
def test_any_request_is_decoded_or_refused(request: ModelInferRequest) -> None:
    """No shape, no name, no count of bytes makes the decoder raise anything of its own."""
    error = refusal(lambda: (DECODER.decode(request), DECODER.outputs(request)))
    assert error is None or error.reason == "TENSOR_INVALID"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_not(data: bytes) -> None:
    """What parses by chance is decoded or refused as well."""
    try:
        request = ModelInferRequest.FromString(data)
    except Exception:  # noqa: BLE001  # protobuf's own, of whatever type: the boundary answers MESSAGE_INVALID
        return
    test_any_request_is_decoded_or_refused.hypothesis.inner_test(request)  # type: ignore[attr-defined]  # Hypothesis's


@given(BODIES | JSON, st.sampled_from(["", "0", "5", "-1", "99999999999", "x", "\u0661"]))
def test_any_json_is_a_body_or_refused(document: Any, length: str) -> None:
    """In the protocol's form, in OpenAI's, or as an object of settings; NaN and Infinity are no JSON."""
    data = json.dumps(document).encode(errors="replace")
    for read in (
        lambda: parse_body(data, length),
        lambda: parse_object(data, {"ready": bool, "parameters": dict}),
        lambda: LogSettings(LogSwitch()).set(parse_object(data)),
        lambda: wanted(data, Models()),
    ):
        check(read)


@given(FORMS | BODIES | JSON)
def test_any_json_is_a_prediction_or_refused(document: Any) -> None:
    """In KServe's first form or in generate's; what is taken is decoded or refused."""
    data = json.dumps(document).encode(errors="replace")
    for signature in (SIGNATURE, ONE_INPUT):
        decoder = Decoder(signature)
        for read in (
            lambda: parse_predict(data, signature).request,  # noqa: B023  # called before the next
            lambda: parse_generate(data, signature),  # noqa: B023  # called before the next
        ):
            check(lambda: decoder.decode(read()), "TENSOR_INVALID")  # noqa: B023  # called before the next


@given(st.binary(max_size=200))
def test_any_bytes_are_a_body_or_refused(data: bytes) -> None:
    """Also those that are no text."""
    for read in (
        lambda: parse_body(data, ""),
        lambda: parse_body(data, "3"),
        lambda: parse_object(data),
        lambda: wanted(data, Models()),
        lambda: parse_predict(data, SIGNATURE),
        lambda: parse_generate(data, SIGNATURE),
    ):
        check(read)


def check(read: Callable[[], object], *others: str) -> None:
    error = refusal(read)
    if error is not None:
        assert error.reason in ("BODY_INVALID", "SETTING_INVALID", "MODEL_NOT_FOUND", *others)
        assert len(error.message) < LONGEST


CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["m", "n", "../m"]),
        "max_batch_size": st.integers(-5, 2**40),
        "backend": st.text(max_size=5),
        "input": st.lists(
            st.fixed_dictionaries({"name": NAMES, "dims": st.lists(SIZES, max_size=10)}), max_size=3
        ),
        "output": JSON,
        "parameters": st.dictionaries(
            st.sampled_from(["headrace_within.x", "headrace_longest.x", "headrace_embeddings", "a"]),
            st.fixed_dictionaries({"string_value": st.text(max_size=9)}),
            max_size=3,
        ),
        "version_policy": JSON,
        "model_warmup": JSON,
    },
)


LONG = "long" * 50_000
LONG_ONES = (
    ModelInferRequest(inputs=[ModelInferRequest.InferInputTensor(name=LONG, datatype="FP32")]),
    ModelInferRequest(inputs=[ModelInferRequest.InferInputTensor(name="x", datatype=LONG)]),
    ModelInferRequest(
        inputs=[ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1] * 9999)]
    ),
    ModelInferRequest(outputs=[ModelInferRequest.InferRequestedOutputTensor(name=LONG)]),
)


@pytest.mark.parametrize("request_", LONG_ONES)
def test_an_error_repeats_little_of_a_long_request(request_: ModelInferRequest) -> None:
    """Its text is a header; one of many KiB would never arrive."""
    error = refusal(lambda: (DECODER.outputs(request_), DECODER.decode(request_)))
    assert error is not None
    assert sum(map(len, (error.message, *error.metadata.values()))) < LONGEST


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": [{"name": "x", "shape": [1] * 99_999, "datatype": "FP32", "data": []}]},
        {"inputs": [{"name": "x", "shape": [2**70], "datatype": "FP32", "data": []}]},
        {"inputs": [{"name": "x", "shape": [1], "datatype": LONG, "data": [1]}]},
        {"inputs": [], "parameters": {LONG: 2**70}},
        {LONG: 1},
        {"model": LONG, "input": "a"},
    ],
)
def test_an_error_repeats_little_of_a_long_body(document: Any) -> None:
    """Over REST as well."""
    data = json.dumps(document).encode()
    for read in (
        lambda: parse_body(data, ""),
        lambda: parse_object(data, {}),
        lambda: wanted(data, Models()),
    ):
        error = refusal(read)
        if error is not None:
            assert sum(map(len, (error.message, *error.metadata.values()))) < LONGEST


@given(CONFIGS | JSON)
def test_any_configuration_is_taken_or_refused(document: Any) -> None:
    """Of a load's parameter: an error of the configuration's, never another."""
    try:
        config = config_of_json("m", json.dumps(document))
        check_whole(Path("m/config.pbtxt"), config)
    except ConfigError:
        return
    assert text_format.MessageToString(config)
