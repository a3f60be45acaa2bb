"""Every request is checked, whole, before it costs anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.tensors import Signature, TensorSpec, join_strings
from headrace.inference.decoder import Decoder, packed
from headrace.inference.v2.grpc_service_pb2 import InferTensorContents, ModelInferRequest
from headrace.runtime.errors import HeadraceError

PAIR = Signature(
    "pair",
    (TensorSpec("x", "FP32", (2,)), TensorSpec("ids", "INT64", (-1,))),
    (TensorSpec("y", "FP32", (3,)), TensorSpec("z", "INT32", ())),
    4,
)
TEXT = Signature("text", (TensorSpec("text", "BYTES", ()),), (TensorSpec("y", "FP32", (1,)),), 4)
SCALAR = Signature("scalar", (TensorSpec("s", "FP64", ()),), (TensorSpec("t", "FP64", ()),), 0)


def request(**raw: tuple[str, list[int], bytes]) -> ModelInferRequest:
    message = ModelInferRequest(model_name="pair")
    for name, (datatype, shape, data) in raw.items():
        message.inputs.add(name=name, datatype=datatype, shape=shape)
        message.raw_input_contents.append(data)
    return message


def good() -> ModelInferRequest:
    return request(ids=("INT64", [2, 3], bytes(48)), x=("FP32", [2, 2], bytes(range(16))))


def refused(message: ModelInferRequest, signature: Signature = PAIR) -> tuple[str, str]:
    with pytest.raises(HeadraceError) as error:
        Decoder(signature).decode(message)
    assert error.value.reason == "TENSOR_INVALID"
    (violation,) = error.value.violations
    assert error.value.metadata["field"] == violation.field
    return violation.field, violation.description


def test_inputs_come_in_the_signatures_order_as_they_were_sent() -> None:
    """Raw bytes are passed on, whatever order the client chose."""
    work = Decoder(PAIR).decode(good())
    assert work.rows == 2
    assert work.shapes == [(2, 2), (2, 3)]
    assert work.values == [bytes(range(16)), bytes(48)]


def test_typed_contents_become_the_same_bytes() -> None:
    """`contents` and raw_input_contents are two forms of one tensor."""
    message = ModelInferRequest()
    x = message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    x.contents.fp32_contents.extend([1.5, -2.0])
    ids = message.inputs.add(name="ids", datatype="INT64", shape=[1, 1])
    ids.contents.int64_contents.append(-7)
    assert Decoder(PAIR).decode(message).values == [
        np.array([1.5, -2.0], np.float32).tobytes(),
        np.array([-7]).tobytes(),
    ]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda m: m.inputs[1].__setattr__("name", "q"), "inputs[1].name", "got 'q'"),
        (lambda m: m.inputs[1].__setattr__("name", "ids"), "inputs[1].name", "twice"),
        (lambda m: m.inputs[1].__setattr__("datatype", "FP64"), "inputs[1].datatype", "expected FP32"),
        (lambda m: m.inputs[1].__setattr__("datatype", ""), "inputs[1].datatype", "got nothing"),
        (lambda m: m.inputs[1].shape.append(1), "inputs[1].shape", "expected shape [-1, 2]"),
        (lambda m: m.inputs[1].shape.__setitem__(1, 3), "inputs[1].shape", "got [2, 3]"),
        (lambda m: m.inputs[1].shape.__setitem__(0, -1), "inputs[1].shape", "no negative"),
        (lambda m: m.inputs[1].shape.__setitem__(0, 0), "inputs[1].shape", "at least 1 row"),
        (lambda m: m.inputs[1].shape.__setitem__(0, 5), "inputs[1].shape", "at most 4 rows"),
        (lambda m: m.inputs[0].shape.__setitem__(1, 2**60 + 2), "inputs[0].shape", "elements"),
        (lambda m: m.inputs[0].shape.extend([1] * 9), "inputs[0].shape", "8 dimensions"),
        (lambda m: m.inputs[0].shape.__setitem__(0, 1), "raw_input_contents[0]", "expected 24 bytes"),
        (lambda m: m.raw_input_contents.pop(), "raw_input_contents", "expected 2 entries"),
        (lambda m: (m.inputs.pop(), m.raw_input_contents.pop()), "inputs", "'x' is missing"),
        (
            lambda m: m.inputs[0].contents.int64_contents.append(1),
            "inputs[0].contents",
            "beside raw_input_contents",
        ),
    ],
)
def test_a_bad_tensor_is_named(change, field: str, words: str) -> None:  # type: ignore[no-untyped-def]  # a lambda
    """Which field, what was expected, what came."""
    message = good()
    change(message)
    where, why = refused(message)
    assert where == field
    assert words in why


BOUNDED = Signature(
    "bounded",
    (TensorSpec("mask", "INT32", (-1,)), TensorSpec("ids", "INT64", (-1,), longest=3, within=(0, 99))),
    (TensorSpec("y", "FP32", (3,)),),
    4,
)


def ids(*values: int) -> ModelInferRequest:
    raw = np.array(values, np.int64).tobytes()
    return request(mask=("INT32", [1, 5], bytes(20)), ids=("INT64", [1, len(values)], raw))


@pytest.mark.parametrize("value", [0, 99])
def test_a_range_has_both_its_ends(value: int) -> None:
    """The lowest and the highest value are allowed, and so is no value at all."""
    assert Decoder(BOUNDED).decode(ids(5, value)).rows == 1
    assert Decoder(BOUNDED).decode(ids()).rows == 1


@pytest.mark.parametrize("value", [-1, 100, -(2**63), 2**63 - 1])
def test_a_value_out_of_range_is_named(value: int) -> None:
    """Before it is batched: which tensor, which values it takes, which one came."""
    field, why = refused(ids(5, value, 7), BOUNDED)
    assert field == "raw_input_contents[1]"
    assert why == f"expected values from 0 to 99, got {value} for input 'ids'"


def test_typed_values_have_the_same_range() -> None:
    """The field that is named is the one that the client filled."""
    message = ModelInferRequest()
    message.inputs.add(name="ids", datatype="INT64", shape=[1, 1]).contents.int64_contents.append(100)
    mask = message.inputs.add(name="mask", datatype="INT32", shape=[1, 1])
    mask.contents.int_contents.append(-100)
    assert refused(message, BOUNDED)[0] == "inputs[0].contents.int64_contents"


def test_a_free_dimension_may_have_an_end() -> None:
    """The input that has one, and no other."""
    field, why = refused(ids(1, 2, 3, 4), BOUNDED)
    assert (field, why) == (
        "inputs[1].shape",
        "expected free dimensions of at most 3, got [1, 4] for input 'ids'",
    )


def test_rows_must_agree() -> None:
    """Inputs of one request have the same number of rows."""
    message = request(ids=("INT64", [1, 3], bytes(24)), x=("FP32", [2, 2], bytes(16)))
    assert "as many rows" in refused(message)[1]


@pytest.mark.parametrize(
    ("contents", "where", "words"),
    [
        (
            InferTensorContents(fp32_contents=[1, 2, 3]),
            "inputs[0].contents.fp32_contents",
            "expected 2 elements",
        ),
        (InferTensorContents(), "inputs[0].contents.fp32_contents", "got 0"),
        (InferTensorContents(int_contents=[1, 2]), "inputs[0].contents.int_contents", "in fp32_contents"),
    ],
)
def test_typed_contents_are_checked(contents: InferTensorContents, where: str, words: str) -> None:
    """Count and kind of the values are those of the shape and the datatype."""
    message = ModelInferRequest()
    message.inputs.add(name="x", datatype="FP32", shape=[1, 2], contents=contents)
    field, why = refused(message)
    assert field == where
    assert words in why


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "got 0"),
        (b"\x01\x00", "no complete length"),
        (b"\xff\xff\xff\xff", "longer than what came"),
        (join_strings([b"a", b"b", b"c"]), "got more"),
        (join_strings([b"a"]), "got 1"),
    ],
)
def test_strings_are_walked_within_what_came(raw: bytes, words: str) -> None:
    """A hostile length reads nothing and allocates nothing."""
    message = request(text=("BYTES", [2], raw))
    assert words in refused(message, TEXT)[1]


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_strings_round_trip(values: list[bytes]) -> None:
    """Embedded zeros and empty strings included."""
    message = request(text=("BYTES", [len(values)], join_strings(values)))
    assert Decoder(TEXT).decode(message).values == [values]


def test_a_model_without_batching_takes_a_scalar() -> None:
    """Shape [] has one element."""
    assert Decoder(SCALAR).decode(request(s=("FP64", [], bytes(8)))).rows == 1


@pytest.mark.parametrize(
    ("value", "datatype"), [(256, "UINT8"), (-1, "UINT16"), (2**31, "INT32"), (40000, "INT16")]
)
def test_a_value_out_of_range_is_refused(value: int, datatype: str) -> None:
    """Never wrapped around."""
    with pytest.raises((OverflowError, ValueError)):
        packed([value], datatype)


def test_outputs_are_chosen_by_name() -> None:
    """No names means all; an unknown or a repeated one is named."""

    def chosen(*names: str) -> tuple[int, ...]:
        asked = [ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]
        return Decoder(PAIR).outputs(ModelInferRequest(outputs=asked))

    assert chosen() == (0, 1)
    assert chosen("z") == (1,)
    for names in (["q"], ["y", "y"]):
        with pytest.raises(HeadraceError, match="TENSOR_INVALID"):
            chosen(*names)


def test_a_shape_that_was_right_once_is_still_checked_for_its_bytes() -> None:
    """What is remembered of a shape never stands in for what came."""
    decoder = Decoder(PAIR)
    decoder.decode(good())
    short = good()
    short.raw_input_contents[1] = bytes(15)
    with pytest.raises(HeadraceError, match="expected 16 bytes"):
        decoder.decode(short)
