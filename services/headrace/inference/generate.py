"""Triton's generate extension: a JSON object whose fields are a model's inputs, and one that has its outputs.

Pure. A field that is an input's name, beside or in `parameters`, is that input:
one value or a flat list, which fills the input's dimensions from the innermost
free one. `id` is the request's. Any other field is a parameter of the request,
which a model that knows none ignores.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace.inference.answers import Inference
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.errors import body_invalid
from headrace.inference.rest_body import Written, parse_object
from headrace.inference.rest_values import json_values, raw_of, set_parameters
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest

PARAMETERS, ID = "parameters", "id"


def parse_generate(data: bytes, signature: Signature) -> ModelInferRequest:
    """The request in a body, for the model of `signature`; raises BODY_INVALID."""
    specs = {spec.name: spec for spec in signature.inputs}
    request = ModelInferRequest()
    given: set[str] = set()
    for field, name, value in _fields(parse_object(data), specs):
        if name in specs:
            if name in given:
                raise body_invalid(field, f"input {name!r} came twice")
            given.add(name)
            _add_input(request, specs[name], field, value, batches=signature.batches)
        elif field == ID:
            request.id = _text(field, value)
        elif isinstance(value, (bool, int, float, str)):
            set_parameters(request.parameters, {name: value})
        else:
            raise body_invalid(field, f"expected one of {list(specs)}, or a parameter: a text or a number")
    return request


def write_generated(request_id: str, done: Inference) -> Written:
    """The answer's body: each output flat, and by itself where it is one value."""
    given = done.answer
    fields: dict[str, Any] = {"model_name": done.model.name, "model_version": done.model.version}
    if request_id:
        fields[ID] = request_id
    for place in done.asked.outputs:
        spec = done.model.backend.signature.outputs[place]
        values = json_values(given.values[place], spec.datatype, given.shapes[place])
        fields[spec.name] = values[0] if len(values) == 1 else values
    return Written(msgspec.json.encode(fields))


def _fields(body: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, str, Any]]:
    """Each field's place in the body, its name and its value; those of `parameters` like the others."""
    for name, value in body.items():
        if name != PARAMETERS or name in specs:
            yield name, name, value
            continue
        if not isinstance(value, dict):
            raise body_invalid(name, "expected an object")
        for inner, one in value.items():
            yield f"{name}.{inner}", inner, one


def _add_input(
    request: ModelInferRequest, spec: TensorSpec, field: str, value: Any, *, batches: bool
) -> None:
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, (list, dict)) for one in values):
        raise body_invalid(field, "expected one value or a flat list")
    dims = (-1, *spec.dims) if batches else spec.dims
    shape = _filled(dims, len(values))
    if shape is None:
        raise body_invalid(field, f"{len(values)} values don't fill shape {list(dims)}")
    request.raw_input_contents.append(raw_of(values, spec.datatype, field, field))
    request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)


def _filled(dims: tuple[int, ...], count: int) -> list[int] | None:
    """The shape that `count` values have: the innermost free dimension takes them, others are 1."""
    fixed = 1
    for size in dims:
        fixed *= 1 if size == -1 else size
    if not fixed or count % fixed:
        return None
    shape, left = list(dims), count // fixed
    for axis in range(len(shape) - 1, -1, -1):
        if shape[axis] == -1:
            shape[axis], left = left, 1
    return shape if left == 1 else None


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise body_invalid(field, "expected a text")
    return value
