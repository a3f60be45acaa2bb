"""Answers as serialised ModelInferResponse messages, put together from bytes.

Protobuf messages merge by concatenation, so the head that is the same for every
answer of a shape is serialised once and kept; the outputs are joined behind it
without another copy.
"""

from collections.abc import Mapping

from headrace.inference.core.memory import Use
from headrace.inference.core.tensors import Signature
from headrace.inference.execution import Answer
from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse

ID_TAG = b"\x1a"  # field 3, length-delimited
RAW_OUTPUT_TAG = b"\x32"  # field 6, length-delimited
MAX_HEADS = 1024


class Encoder:
    """Serialises the answers of one model version."""

    def __init__(self, signature: Signature, version: str) -> None:
        self._signature = signature
        self._version = version
        self._heads: dict[tuple[object, ...], bytes] = {}

    def encode(self, request_id: str, answer: Answer, outputs: tuple[int, ...]) -> bytes:
        """A serialised ModelInferResponse with the outputs at `outputs`."""
        parts: list[bytes | memoryview] = [self._head(answer, outputs)]
        if request_id:
            encoded = request_id.encode()
            parts += (ID_TAG, varint(len(encoded)), encoded)
        for place in outputs:
            value = answer.values[place]
            parts += (RAW_OUTPUT_TAG, varint(len(value)), value)
        return b"".join(parts)

    def encode_placed(
        self, request_id: str, answer: Answer, outputs: tuple[int, ...], placed: Mapping[int, Use]
    ) -> bytes:
        """The same where the outputs of `placed` are in shared memory: told of, and empty here."""
        message = ModelInferResponse(
            model_name=self._signature.model, model_version=self._version, id=request_id
        )
        for place in outputs:
            spec, value = self._signature.outputs[place], answer.values[place]
            tensor = message.outputs.add(name=spec.name, datatype=spec.datatype, shape=answer.shapes[place])
            if place in placed:
                for name, told in placed[place].told(len(value)).items():
                    kind = "int64_param" if isinstance(told, int) else "string_param"
                    setattr(tensor.parameters[name], kind, told)
            # Clients count contents by outputs: each has one.
            message.raw_output_contents.append(b"" if place in placed else bytes(value))
        return message.SerializeToString()

    def with_id(self, request_id: str, stored: bytes) -> bytes:
        """An answer that was encoded without an id, with one."""
        if not request_id:
            return stored
        encoded = request_id.encode()
        return b"".join((stored, ID_TAG, varint(len(encoded)), encoded))

    def decode(self, stored: bytes, outputs: tuple[int, ...]) -> Answer:
        """The tensors of an answer that was encoded for these outputs, in the signature's order.

        Outputs that were not asked for are empty.
        """
        message = ModelInferResponse.FromString(stored)
        shapes: list[tuple[int, ...]] = [()] * len(self._signature.outputs)
        values: list[bytes | memoryview] = [b""] * len(shapes)
        for place, tensor, raw in zip(outputs, message.outputs, message.raw_output_contents, strict=True):
            shapes[place], values[place] = tuple(tensor.shape), raw
        return Answer(shapes, values)

    def _head(self, answer: Answer, outputs: tuple[int, ...]) -> bytes:
        key = (outputs, *answer.shapes)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= MAX_HEADS:
                self._heads.clear()
            message = ModelInferResponse(model_name=self._signature.model, model_version=self._version)
            for place in outputs:
                spec = self._signature.outputs[place]
                message.outputs.add(name=spec.name, datatype=spec.datatype, shape=answer.shapes[place])
            head = self._heads[key] = message.SerializeToString()
        return head


def varint(number: int) -> bytes:
    """Protobuf's base-128 form of a length."""
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
