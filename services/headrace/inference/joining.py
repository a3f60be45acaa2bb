"""An input of several requests, joined once into the buffer that the model reads."""

from math import prod

import numpy as np

from headrace.inference.core.tensors import BYTES, DTYPES, Array, TensorSpec, Value


def padded(spec: TensorSpec, parts: list[tuple[int, tuple[int, ...], Value]], axis: int) -> Array:
    """Requests of different sizes in `axis`, with zeros behind the shorter ones."""
    shape = list(parts[0][1])
    shape[0] = sum(rows for rows, _, _ in parts)
    shape[axis] = max(part[axis] for _, part, _ in parts)
    whole = np.zeros(shape, DTYPES[spec.datatype])
    first = 0
    for rows, part, raw in parts:
        place = (slice(first, first + rows), *(slice(size) for size in part[1:]))
        whole[place] = np.frombuffer(raw, whole.dtype).reshape(part)  # type: ignore[arg-type]  # no strings
        first += rows
    return whole


def column(spec: TensorSpec, values: list[Value], shape: tuple[int, ...]) -> Array:
    """Requests of one size, behind each other; `shape` is that of all of them."""
    if spec.datatype == BYTES:
        strings = np.empty(prod(shape), dtype=object)
        strings[:] = [element for value in values for element in value]
        return strings.reshape(shape)
    raw = values[0] if len(values) == 1 else b"".join(values)  # type: ignore[arg-type]  # bytes, but for BYTES
    if not raw:
        return np.empty(shape, DTYPES[spec.datatype])
    return np.frombuffer(raw, DTYPES[spec.datatype]).reshape(shape)  # type: ignore[arg-type]  # likewise
