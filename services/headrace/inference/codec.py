"""ModelInferRequest in, ModelInferResponse out: one parse, one encode, no copy between.

Everything about a request is checked here before the batcher sees it: which
field, what was expected, what came. The answer is put together from bytes:
protobuf messages merge by concatenation, so the head that is the same for
every answer of a shape is serialised once and kept.
"""

from collections.abc import Sequence

import numpy as np

from headrace.inference.core.tensors import (
    BYTES,
    DTYPES,
    Signature,
    TensorSpec,
    Value,
    elements,
    shape_problem,
    split_strings,
)
from headrace.inference.errors import tensor_invalid
from headrace.inference.execution import Answer, Work
from headrace.inference.v2.grpc_service_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of InferTensorContents for each datatype; FP16 has none and must be raw."""

ID_TAG = b"\x1a"  # field 3, length-delimited
RAW_OUTPUT_TAG = b"\x32"  # field 6, length-delimited
MAX_HEADS = 1024


def decode(request: ModelInferRequest, signature: Signature) -> Work:
    """The request's inputs in the signature's order; raises TENSOR_INVALID."""
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise tensor_invalid(
            signature.model,
            "raw_input_contents",
            f"expected {len(request.inputs)} entries, one for each input, got {len(raws)}",
        )
    found: dict[str, tuple[tuple[int, ...], Value]] = {}
    specs = {spec.name: spec for spec in signature.inputs}
    for i, tensor in enumerate(request.inputs):
        name = tensor.name
        spec = specs.get(name)
        field = f"inputs[{i}]"
        if spec is None:
            raise tensor_invalid(
                signature.model, f"{field}.name", f"expected one of {list(specs)}, got {name!r}"
            )
        if name in found:
            raise tensor_invalid(signature.model, f"{field}.name", f"input {name!r} came twice")
        if tensor.datatype != spec.datatype:
            raise tensor_invalid(
                signature.model,
                f"{field}.datatype",
                f"expected {spec.datatype} for input {name!r}, got {tensor.datatype or 'nothing'}",
            )
        shape = tuple(tensor.shape)
        problem = shape_problem(spec, shape, signature.max_batch_size)
        if problem:
            raise tensor_invalid(signature.model, f"{field}.shape", f"{problem} for input {name!r}")
        contents = tensor.contents if tensor.HasField("contents") else None
        if raws:
            if contents is not None:
                raise tensor_invalid(
                    signature.model,
                    f"{field}.contents",
                    "expected none beside raw_input_contents",
                )
            found[name] = shape, _raw_value(signature, spec, i, shape, raws[i])
        else:
            found[name] = shape, _typed_value(signature, spec, field, shape, contents)
    return _work(signature, found)


def _work(signature: Signature, found: dict[str, tuple[tuple[int, ...], Value]]) -> Work:
    shapes: list[tuple[int, ...]] = []
    values: list[Value] = []
    for spec in signature.inputs:
        entry = found.get(spec.name)
        if entry is None:
            raise tensor_invalid(signature.model, "inputs", f"input {spec.name!r} is missing")
        shapes.append(entry[0])
        values.append(entry[1])
    if not signature.batches:
        return Work(1, shapes, values)
    rows = shapes[0][0]
    if any(shape[0] != rows for shape in shapes):
        raise tensor_invalid(
            signature.model,
            "inputs",
            f"expected as many rows in every input, got {[shape[0] for shape in shapes]}",
        )
    return Work(rows, shapes, values)


def _raw_value(signature: Signature, spec: TensorSpec, i: int, shape: tuple[int, ...], raw: bytes) -> Value:
    count = elements(shape)
    if spec.datatype == BYTES:
        strings = split_strings(raw, count)
        if isinstance(strings, str):
            raise tensor_invalid(signature.model, f"raw_input_contents[{i}]", strings)
        return strings
    expected = count * DTYPES[spec.datatype].itemsize
    if len(raw) != expected:
        raise tensor_invalid(
            signature.model,
            f"raw_input_contents[{i}]",
            f"expected {expected} bytes for {spec.datatype} {list(shape)}, got {len(raw)}",
        )
    return raw


def _typed_value(
    signature: Signature,
    spec: TensorSpec,
    field: str,
    shape: tuple[int, ...],
    contents: InferTensorContents | None,
) -> Value:
    name = CONTENTS.get(spec.datatype)
    if name is None:
        raise tensor_invalid(
            signature.model,
            field,
            f"expected {spec.datatype} in raw_input_contents: contents has no field for it",
        )
    values = getattr(contents, name) if contents is not None else ()
    if contents is not None:
        others = [f.name for f, _ in contents.ListFields() if f.name != name]
        if others:
            raise tensor_invalid(
                signature.model,
                f"{field}.contents.{others[0]}",
                f"expected {spec.datatype} values in {name}",
            )
    if len(values) != elements(shape):
        raise tensor_invalid(
            signature.model,
            f"{field}.contents.{name}",
            f"expected {elements(shape)} elements for shape {list(shape)}, got {len(values)}",
        )
    if spec.datatype == BYTES:
        return list(values)
    try:
        return packed(list(values), spec.datatype)
    except (OverflowError, ValueError):
        raise tensor_invalid(
            signature.model, f"{field}.contents.{name}", f"a value is out of {spec.datatype}'s range"
        ) from None


def packed(values: Sequence[float | int | bool], datatype: str) -> bytes:
    """Values as raw bytes of `datatype`; OverflowError or ValueError when one does not fit."""
    dtype = DTYPES[datatype]
    if dtype.kind in "iu":
        exact = np.array(values, dtype=np.int64 if dtype.kind == "i" else np.uint64)
        if exact.size and not (exact.min() >= np.iinfo(dtype).min and exact.max() <= np.iinfo(dtype).max):
            raise OverflowError(datatype)
        return exact.astype(dtype).tobytes()
    return np.array(values, dtype=dtype).tobytes()


def requested_outputs(names: Sequence[str], signature: Signature) -> tuple[int, ...]:
    """Places of the requested outputs in the signature; all of them for none.

    Raises TENSOR_INVALID for an unknown name, or one that comes twice.
    """
    if not names:
        return tuple(range(len(signature.outputs)))
    places = {spec.name: i for i, spec in enumerate(signature.outputs)}
    chosen: list[int] = []
    for i, name in enumerate(names):
        place = places.get(name)
        if place is None:
            raise tensor_invalid(
                signature.model,
                f"outputs[{i}].name",
                f"expected one of {list(places)}, got {name!r}",
            )
        if place in chosen:
            raise tensor_invalid(signature.model, f"outputs[{i}].name", f"output {name!r} came twice")
        chosen.append(place)
    return tuple(chosen)


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
