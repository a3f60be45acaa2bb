"""Answers put together from bytes are the messages that protobuf would have written."""

import numpy as np
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.encoder import Encoder, varint
from headrace.inference.execution import Answer
from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse

PAIR = Signature("pair", (), (TensorSpec("y", "FP32", (3,)), TensorSpec("z", "INT32", ())), 4)


@given(
    st.text(max_size=300),
    st.integers(1, 4),
    st.sampled_from([(0, 1), (1, 0), (0,), (1,)]),
)
def test_the_concatenated_answer_is_the_message(identity: str, rows: int, outputs: tuple[int, ...]) -> None:
    """Bytes put together are what protobuf itself would have written, field by field."""
    y, z = np.arange(rows * 3, dtype=np.float32), np.arange(rows, dtype=np.int32)
    answer = Answer([(rows, 3), (rows,)], [y.tobytes(), memoryview(z.tobytes())])
    encoder = Encoder(PAIR, "7")
    for _ in range(2):
        message = ModelInferResponse.FromString(encoder.encode(identity, answer, outputs))
        assert (message.model_name, message.model_version, message.id) == ("pair", "7", identity)
        assert [one.name for one in message.outputs] == [PAIR.outputs[i].name for i in outputs]
        assert [tuple(one.shape) for one in message.outputs] == [answer.shapes[i] for i in outputs]
        assert list(message.raw_output_contents) == [bytes(answer.values[i]) for i in outputs]


@given(st.text(max_size=300), st.sampled_from([(0, 1), (1, 0), (0,), (1,)]))
def test_a_stored_answer_gets_its_id_without_being_serialised_again(
    identity: str, outputs: tuple[int, ...]
) -> None:
    """Stored without an id, it is with one what it would have been, and its tensors come back."""
    y, z = np.arange(6, dtype=np.float32), np.arange(2, dtype=np.int32)
    answer = Answer([(2, 3), (2,)], [y.tobytes(), z.tobytes()])
    encoder = Encoder(PAIR, "7")
    stored = encoder.encode("", answer, outputs)
    one = ModelInferResponse.FromString(encoder.with_id(identity, stored))
    assert one == ModelInferResponse.FromString(encoder.encode(identity, answer, outputs))
    tensors = encoder.decode(stored, outputs)
    assert [tensors.shapes[i] for i in outputs] == [answer.shapes[i] for i in outputs]
    assert [tensors.values[i] for i in outputs] == [answer.values[i] for i in outputs]


@given(st.integers(0, 2**35))
def test_varint_is_protobufs(number: int) -> None:
    """As protobuf writes a uint64 field."""
    assert b"\x08" + varint(number) == UInt64Value(value=number).SerializeToString() or number == 0
