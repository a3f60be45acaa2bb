"""Datatypes of the Open Inference Protocol, and what a model takes and gives."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

MAX_RANK = 8
MAX_ELEMENTS = 2**28
"""Elements of one tensor; checked on the shape, before anything is allocated."""

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
"""Fixed-size datatypes, little-endian on the wire as on every machine we run on."""

BYTES = "BYTES"
"""The datatype of byte strings, each behind its length in four bytes."""

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
"""A tensor of a whole batch; a BYTES tensor is an array of bytes objects."""

Value = bytes | list[bytes]
"""A tensor of one request: its raw bytes, or the elements of a BYTES tensor."""

ABSENT: Array = np.empty(0, object)
"""Stands in a run for an optional input that the request left out; known by being this very array."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor as the model declares it; dims of -1 take any size up to `longest`.

    `dims` leaves out the batch dimension of a model that batches. `within`
    has the lowest and the highest value allowed, of integers only; None: all.
    One that is `finite` takes neither NaN nor infinities; of floats only. An
    `optional` one may be left out of a request: the model has a default for it.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False
    longest: int = MAX_ELEMENTS
    within: tuple[int, int] | None = None
    finite: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives. `max_batch_size` 0: no batch dimension."""

    model: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int

    @property
    def batches(self) -> bool:
        return self.max_batch_size > 0


def elements(shape: tuple[int, ...]) -> int:
    """How many elements a shape has (1 for a scalar)."""
    return prod(shape)


def left_out(spec: TensorSpec) -> tuple[tuple[int, ...], Value]:
    """What an optional input is in a request without it: a scalar of no element, which no input that is there can be."""
    return (), [] if spec.datatype == BYTES else b""


def shape_problem(spec: TensorSpec, shape: tuple[int, ...], max_batch_size: int) -> str:
    """What is wrong with `shape` as a value of `spec`; empty when nothing is."""
    if len(shape) > MAX_RANK:
        return f"expected at most {MAX_RANK} dimensions, got {len(shape)}"
    if any(size < 0 for size in shape):
        return f"expected no negative dimension, got {list(shape)}"
    expected = list(spec.dims)
    dims = shape
    if max_batch_size:
        expected = [-1, *expected]
        dims = shape[1:]
    if len(shape) != len(expected) or any(
        want not in (-1, size) for want, size in zip(spec.dims, dims, strict=True)
    ):
        return f"expected shape {expected}, got {list(shape)}"
    if max_batch_size and shape[0] > max_batch_size:
        return f"expected at most {max_batch_size} rows (max_batch_size), got {shape[0]}"
    if max_batch_size and shape[0] == 0:
        return "expected at least 1 row, got 0"
    if elements(shape) > MAX_ELEMENTS:
        return f"expected at most {MAX_ELEMENTS} elements, got {elements(shape)}"
    if any(want == -1 and size > spec.longest for want, size in zip(spec.dims, dims, strict=True)):
        return f"expected free dimensions of at most {spec.longest}, got {list(shape)}"
    return ""


def value_problem(spec: TensorSpec, raw: bytes) -> str:
    """What is wrong with the numbers in `raw` as values of `spec`; empty when nothing is."""
    if spec.finite and not np.isfinite(np.frombuffer(raw, DTYPES[spec.datatype])).all():
        return "expected finite values, got NaN or an infinity"
    if spec.within is None or not raw:
        return ""
    low, high = spec.within
    values = np.frombuffer(raw, DTYPES[spec.datatype])
    least, most = int(values.min()), int(values.max())
    if low <= least and most <= high:
        return ""
    return f"expected values from {low} to {high}, got {least if least < low else most}"


def split_strings(raw: bytes, count: int) -> list[bytes] | str:
    """The elements of a raw BYTES tensor, or what is wrong with it."""
    found: list[bytes] = []
    position, size = 0, len(raw)
    while position < size:
        if len(found) == count:
            return f"expected {count} strings, got more"
        start = position + 4
        if start > size:
            return f"string {len(found)} has no complete length"
        position = start + int.from_bytes(raw[position:start], "little")
        if position > size:
            return f"string {len(found)} is longer than what came"
        found.append(raw[start:position])
    if len(found) != count:
        return f"expected {count} strings, got {len(found)}"
    return found


def join_strings(values: list[bytes]) -> bytes:
    """The raw form of a BYTES tensor."""
    return b"".join(part for value in values for part in (len(value).to_bytes(4, "little"), value))
