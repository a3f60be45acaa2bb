"""KServe's first protocol, which TensorFlow Serving began: `instances` in, `predictions` out.

Pure. Rows (`{"instances": [...]}`) or columns (`{"inputs": ...}`), answered in
the same form (`predictions`, `outputs`). An instance is a value of the model's
only input, or an object of its inputs by name. Shapes are those of the nested
lists. Bytes that are no text are `{"b64": "..."}` both ways. A model without a
batch dimension takes `instances` as its tensor whole and answers so.
"""

from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.inference.answers import Inference
from headrace.inference.core.tensors import BYTES, MAX_RANK, Signature, elements, join_strings, split_strings
from headrace.inference.errors import body_invalid
from headrace.inference.rest_body import Written
from headrace.inference.rest_values import Parameters, json_values, raw_of, set_parameters
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest

B64 = "b64"
DEFAULT_SIGNATURE = "serving_default"


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A request: exactly one of `instances` and `inputs`."""

    instances: list[Any] | None = None
    inputs: Any = None
    parameters: Parameters = {}
    signature_name: str = DEFAULT_SIGNATURE


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed body; `rows` says whether it came, and goes, in rows."""

    request: ModelInferRequest
    rows: bool


def parse_predict(data: bytes, signature: Signature) -> Asked:
    """The request in a body, for the model of `signature`; raises BODY_INVALID."""
    try:
        body = msgspec.json.decode(data, type=Body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise body_invalid("body", str(error)) from None
    if (body.instances is None) == (body.inputs is None):
        raise body_invalid("body", "expected either instances or inputs")
    if body.signature_name != DEFAULT_SIGNATURE:
        raise body_invalid("signature_name", f"expected {DEFAULT_SIGNATURE!r}: a model has one signature")
    columns = _columns(body, signature)
    request = ModelInferRequest()
    set_parameters(request.parameters, body.parameters)
    datatypes = {spec.name: spec.datatype for spec in signature.inputs}
    for name, (field, value) in columns.items():
        if name not in datatypes:
            raise body_invalid(field, f"expected one of {list(datatypes)}, got {name!r}")
        shape, values = _flattened(value, field)
        request.raw_input_contents.append(_raw(values, datatypes[name], field))
        request.inputs.add(name=name, datatype=datatypes[name], shape=shape)
    return Asked(request, body.inputs is None)


def write_predictions(asked: Asked, done: Inference) -> Written:
    """The answer's body: a value for each row or of each column, by name where there are several outputs."""
    signature, given = done.model.backend.signature, done.answer
    names = [signature.outputs[place].name for place in done.asked.outputs]
    columns = [
        _nested(
            _values(given.values[place], signature.outputs[place].datatype, given.shapes[place]),
            given.shapes[place],
        )
        for place in done.asked.outputs
    ]
    if len(names) == 1:
        answer: Any = columns[0]
    elif asked.rows and signature.batches:
        answer = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    else:
        answer = dict(zip(names, columns, strict=True))
    return Written(msgspec.json.encode({"predictions" if asked.rows else "outputs": answer}))


def _columns(body: Body, signature: Signature) -> dict[str, tuple[str, Any]]:
    """Each input's place in the body and its values, the first dimension outermost."""
    if body.instances is None:
        given = body.inputs
        if isinstance(given, dict) and not _is_bytes(given):
            return {name: (f"inputs.{name}", value) for name, value in given.items()}
        return {_only_input(signature, "inputs"): ("inputs", given)}
    if not body.instances:
        raise body_invalid("instances", "expected at least one")
    if not any(isinstance(one, dict) and not _is_bytes(one) for one in body.instances):
        return {_only_input(signature, "instances"): ("instances", body.instances)}
    return _transposed(body.instances)


def _transposed(instances: list[Any]) -> dict[str, tuple[str, Any]]:
    """Objects by name, as columns by name; each must have the same names."""
    first = instances[0]
    for index, one in enumerate(instances):
        if not isinstance(one, dict) or not isinstance(first, dict) or one.keys() != first.keys():
            raise body_invalid(f"instances[{index}]", "expected objects with the same inputs in all")
    return {name: (f"instances[].{name}", [one[name] for one in instances]) for name in first}


def _only_input(signature: Signature, field: str) -> str:
    names = [spec.name for spec in signature.inputs]
    if len(names) != 1:
        raise body_invalid(field, f"expected objects with the model's inputs {names} by name")
    return names[0]


def _flattened(data: Any, field: str) -> tuple[list[int], list[Any]]:
    """The shape of nested lists, which must be regular, and their elements in row-major order."""
    shape: list[int] = []
    level = [data]
    while level and any(isinstance(one, list) for one in level):
        if len(shape) > MAX_RANK:
            raise body_invalid(field, f"expected at most {MAX_RANK} nested lists")
        sizes = {len(one) if isinstance(one, list) else -1 for one in level}
        if len(sizes) != 1:
            raise body_invalid(field, "expected lists of one length beside each other")
        shape.append(sizes.pop())
        level = [element for one in level for element in one]
    return shape, level


def _raw(values: list[Any], datatype: str, field: str) -> bytes:
    if datatype != BYTES:
        return raw_of(values, datatype, field, field)
    return join_strings([_bytes(value, field) for value in values])


def _bytes(value: Any, field: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_bytes(value):
        raise body_invalid(field, f'expected strings, or {{"{B64}": "..."}}')
    try:
        return b64decode(value[B64], validate=True)
    except (NoBase64, ValueError):
        raise body_invalid(field, f"expected base64 in {B64!r}") from None


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {B64} and isinstance(value[B64], str)


def _values(value: bytes | memoryview, datatype: str, shape: tuple[int, ...]) -> list[Any]:
    if datatype != BYTES:
        return json_values(value, datatype, shape)
    strings = split_strings(bytes(value), elements(shape))
    return [_text(element) for element in strings if isinstance(element, bytes)]


def _text(element: bytes) -> str | dict[str, str]:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {B64: b64encode(element).decode()}


def _nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """Row-major values as lists within lists; a scalar as itself."""
    if not shape:
        return values[0]
    for axis in range(len(shape) - 1, 0, -1):
        size, count = shape[axis], elements(shape[:axis])
        values = [values[number * size : (number + 1) * size] for number in range(count)]
    return values
