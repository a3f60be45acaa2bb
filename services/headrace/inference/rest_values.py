"""Values of JSON bodies as raw tensors and as parameters, and raw tensors as values of JSON.

Pure, and the same for every HTTP form of an inference. Every mistake names its
path in the body.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np

from headrace.inference.core.tensors import BYTES, DTYPES, elements, join_strings, split_strings
from headrace.inference.decoder import packed
from headrace.inference.errors import body_invalid
from headrace.inference.v2.grpc_service_pb2 import InferParameter

Parameters = dict[str, bool | int | float | str]


def raw_of(values: Sequence[Any], datatype: str, field: str, place: str) -> bytes:
    """The raw tensor of row-major `values`; `field` is the tensor in the body, `place` its values.

    Raises BODY_INVALID.
    """
    if datatype == BYTES:
        if not all(isinstance(value, str) for value in values):
            raise body_invalid(place, "expected strings")
        return join_strings([value.encode() for value in values])
    if datatype not in DTYPES:
        raise body_invalid(f"{field}.datatype", f"expected one of {[*DTYPES, BYTES]}, got {datatype!r}")
    if not set(map(type, values)) <= _allowed(datatype):
        raise body_invalid(place, f"expected {datatype} values")
    try:
        return packed(values, datatype)
    except (OverflowError, ValueError):
        raise body_invalid(place, f"a value is out of {datatype}'s range") from None


def json_values(value: bytes | memoryview, datatype: str, shape: tuple[int, ...]) -> list[Any]:
    """Row-major elements; NaN and infinities become null, since JSON has no word for them."""
    if datatype == BYTES:
        strings = split_strings(bytes(value), elements(shape))
        return [element.decode(errors="replace") for element in strings if isinstance(element, bytes)]
    values: list[Any] = np.frombuffer(value, DTYPES[datatype]).tolist()
    return values


def set_parameters(
    target: MutableMapping[str, InferParameter], parameters: Parameters, field: str = "parameters"
) -> None:
    """Puts a body's parameters into a message's; `field` is where they stand. Raises BODY_INVALID."""
    for name, value in parameters.items():
        match value:
            case bool():
                target[name].bool_param = value
            case int() if -(2**63) <= value < 2**63:
                target[name].int64_param = value
            case int():
                raise body_invalid(f"{field}.{name}", "expected a 64-bit whole number")
            case float():
                target[name].double_param = value
            case str():
                target[name].string_param = value


def _allowed(datatype: str) -> set[type]:
    match DTYPES[datatype].kind:
        case "b":
            return {bool}
        case "f":
            return {float, int}
    return {int}
