"""The Open Inference Protocol's HTTP bodies: JSON tensors, and binary ones behind a JSON header.

Pure: bytes in, ModelInferRequest out, and an answer back into bytes. Every
mistake names its path in the JSON body.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.inference.answers import Inference
from headrace.inference.core.memory import BYTE_SIZE, OFFSET, REGION
from headrace.inference.core.tensors import MAX_ELEMENTS, MAX_RANK
from headrace.inference.errors import body_invalid, shown
from headrace.inference.rest_values import Parameters, json_values, raw_of, set_parameters
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest

JSON_WORDS: Mapping[type, str] = {
    bool: "true or false",
    dict: "an object",
    str: "a text",
    int: "a whole number",
}
LENGTH_HEADER = "inference-header-content-length"


class InputTensor(msgspec.Struct):
    """An input of a JSON body; `data` is absent where the tensor is binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    data: Any = None


class OutputTensor(msgspec.Struct):
    """A requested output."""

    name: str
    parameters: Parameters = {}


class Body(msgspec.Struct):
    """A JSON inference request."""

    inputs: list[InputTensor]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[OutputTensor] = []


class Asked:
    """A parsed body: the request, and the outputs that are to come back binary."""

    __slots__ = ("_binary", "_default", "request")

    def __init__(self, request: ModelInferRequest, body: Body) -> None:
        self.request = request
        self._default = bool(body.parameters.get("binary_data_output", False))
        self._binary = {
            output.name: bool(output.parameters.get("binary_data", self._default)) for output in body.outputs
        }

    def binary(self, output: str) -> bool:
        """Whether `output` is to come back binary."""
        return self._binary.get(output, self._default)


def parse_body(data: bytes, header_length: str) -> Asked:
    """The request in an HTTP body; `header_length` is Inference-Header-Content-Length or "".

    Raises BODY_INVALID.
    """
    size = len(data)
    if header_length:
        if not header_length.isdecimal() or int(header_length) > len(data):
            raise body_invalid(
                LENGTH_HEADER, f"expected 0 to {len(data)} (the body's bytes), got {header_length!r}"
            )
        size = int(header_length)
    try:
        body = msgspec.json.decode(memoryview(data)[:size], type=Body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise body_invalid("body", str(error)) from None
    request = ModelInferRequest(id=body.id)
    set_parameters(request.parameters, body.parameters)
    position = size
    for i, tensor in enumerate(body.inputs):
        _add_input(request, tensor, i)
        if REGION in tensor.parameters:
            continue  # whoever serves shared memory reads it, the decoder refuses it otherwise
        raw, position = _raw(tensor, f"inputs[{i}]", data, position)
        request.raw_input_contents.append(raw)
    if position != len(data):
        raise body_invalid("body", f"{len(data) - position} bytes behind the last binary tensor")
    for i, output in enumerate(body.outputs):
        wanted = request.outputs.add(name=output.name)
        set_parameters(wanted.parameters, _of_memory(output.parameters), f"outputs[{i}].parameters")
    return Asked(request, body)


def _add_input(request: ModelInferRequest, tensor: InputTensor, i: int) -> None:
    try:
        added = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    except (ValueError, OverflowError):
        raise body_invalid(f"inputs[{i}].shape", f"expected 64-bit sizes, got {tensor.shape}") from None
    set_parameters(added.parameters, _of_memory(tensor.parameters), f"inputs[{i}].parameters")


def _of_memory(parameters: Parameters) -> Parameters:
    """Of a tensor's parameters those that say where in shared memory it lies."""
    return {name: value for name, value in parameters.items() if name in (REGION, BYTE_SIZE, OFFSET)}


def _raw(tensor: InputTensor, field: str, data: bytes, position: int) -> tuple[bytes, int]:
    """The tensor's raw bytes, and where the next binary tensor begins."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return _from_json(tensor, field), position
    end = position + size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else -1
    if tensor.data is not None or not position <= end <= len(data):
        raise body_invalid(
            f"{field}.parameters.binary_data_size",
            f"expected no data and at most {len(data) - position} bytes, got {size!r}",
        )
    return data[position:end], end


def _from_json(tensor: InputTensor, field: str) -> bytes:
    count = _count(tensor.shape, field)
    values = list(_flat(tensor.data, field, count))
    if len(values) != count:
        raise body_invalid(
            f"{field}.data", f"expected {count} elements for shape {tensor.shape}, got {len(values)}"
        )
    return raw_of(values, tensor.datatype, field, f"{field}.data")


def _count(shape: list[int], field: str) -> int:
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise body_invalid(f"{field}.shape", f"expected up to {MAX_RANK} sizes of 0 or more, got {shape}")
    count = 1
    for size in shape:
        count *= size
    if count > MAX_ELEMENTS:
        raise body_invalid(f"{field}.shape", f"expected at most {MAX_ELEMENTS} elements, got {count}")
    return count


def _flat(data: Any, field: str, count: int) -> Iterator[Any]:
    """The elements of nested lists in row-major order, without recursion."""
    if not isinstance(data, list):
        raise body_invalid(f"{field}.data", "expected a list")
    stack = [iter(data)]
    given = 0
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                if len(stack) > MAX_RANK:
                    raise body_invalid(f"{field}.data", f"expected at most {MAX_RANK} nested lists")
                stack.append(iter(value))
                break
            given += 1
            if given > count:
                raise body_invalid(f"{field}.data", f"expected {count} elements, got more")
            yield value
        else:
            stack.pop()


@dataclass(frozen=True, slots=True)
class Written:
    """An answer's body; `header_length` is that of its JSON header where binary tensors follow."""

    data: bytes
    header_length: int | None = None

    def __len__(self) -> int:
        return len(self.data)

    def told(self, parameters: Mapping[str, int | str]) -> "Written":
        """The same with these `parameters` at the end of its JSON object; itself for none."""
        if not parameters:
            return self
        size = len(self.data) if self.header_length is None else self.header_length
        head = b'%b,"parameters":%b}' % (self.data[: size - 1], msgspec.json.encode(parameters))
        return Written(head + self.data[size:], None if self.header_length is None else len(head))

    def with_fields(self, fields: Mapping[str, int | str]) -> "Written":
        """The same, of JSON alone, with these `fields` at the end of its object; itself for none."""
        if not fields:
            return self
        return Written(b"%b,%b" % (self.data[:-1], msgspec.json.encode(fields)[1:]))


def write_body(asked: Asked, done: Inference) -> Written:
    """The answer's body."""
    signature, given, placed = done.model.backend.signature, done.answer, done.placed or {}
    outputs: list[dict[str, Any]] = []
    binary: list[bytes | memoryview] = []
    for place in done.asked.outputs:
        spec = signature.outputs[place]
        shape, value = given.shapes[place], given.values[place]
        output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": shape}
        if place in placed:
            output["parameters"] = placed[place].told(len(value))
        elif asked.binary(spec.name):
            output["parameters"] = {"binary_data_size": len(value)}
            binary.append(value)
        else:
            output["data"] = json_values(value, spec.datatype, shape)
        outputs.append(output)
    answer: dict[str, Any] = {
        "model_name": done.model.name,
        "model_version": done.model.version,
        "outputs": outputs,
    }
    if asked.request.id:
        answer["id"] = asked.request.id
    head = msgspec.json.encode(answer)
    return Written(b"".join((head, *binary)), len(head)) if binary else Written(head)


def parse_object(data: bytes, known: Mapping[str, type] | None = None) -> dict[str, Any]:
    """The JSON object of a body, {} for none; with `known` no other keys, and values of those types.

    Raises BODY_INVALID.
    """
    try:
        found = msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise body_invalid("body", str(error)) from None
    for name, value in found.items():
        if known is not None and name not in known:
            raise body_invalid(shown(name), f"expected one of {list(known)}")
        if known is not None and not isinstance(value, known[name]):
            raise body_invalid(name, f"expected {JSON_WORDS[known[name]]}")
    return found


def as_json(document: dict[str, Any] | list[Any]) -> bytes:
    """A small JSON document."""
    return json.dumps(document).encode()
