"""One batch, from raw request values to raw answers; runs in an instance's thread.

Inputs of a batch are joined once into the buffer that the model reads; outputs
are cut into each request's bytes. A batch that fails is tried again request by
request, so that one bad request fails alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import structlog

from headrace.inference.backend import Backend
from headrace.inference.core.tensors import BYTES, DTYPES, Array, TensorSpec, Value, join_strings

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Work:
    """One request's inputs in the signature's order, each with its full shape."""

    rows: int
    shapes: list[tuple[int, ...]]
    values: list[Value]


@dataclass(slots=True, eq=False)
class Answer:
    """One request's outputs in the signature's order, in their raw form.

    Values are views into the batch's outputs where the datatype has a fixed size.
    """

    shapes: list[tuple[int, ...]]
    values: list[bytes | memoryview]


@dataclass(slots=True)
class Executed:
    """What became of a batch: an answer, or None for a failure, per request.

    Times are nanoseconds on the monotonic clock; `runs` counts the model's
    executions (more than one after a failure). `cpu_ns` is what the instance's
    thread had of a core meanwhile, repeated runs included.
    """

    answers: list[Answer | None]
    started_ns: int
    infer_ns: int
    output_ns: int
    ended_ns: int
    runs: int = 1
    cpu_ns: int = 0


def execute(backend: Backend, works: Sequence[Work]) -> Executed:
    """Executes a batch; never raises what the model raised."""
    cpu_started = time.thread_time_ns()
    executed = _tried(backend, works)
    executed.cpu_ns = time.thread_time_ns() - cpu_started
    return executed


def _tried(backend: Backend, works: Sequence[Work]) -> Executed:
    started = time.monotonic_ns()
    try:
        inputs = _joined(backend, works)
        before = time.monotonic_ns()
        outputs = backend.execute(inputs)
        after = time.monotonic_ns()
        answers: list[Answer | None] = list(_split(backend, outputs, works))
        return Executed(answers, started, before, after, time.monotonic_ns())
    except Exception as error:  # the root of an instance's work: a model may raise anything
        log.error("model failed", model=backend.signature.model, requests=len(works), exc_info=error)
        return _one_by_one(backend, works, started)


def _one_by_one(backend: Backend, works: Sequence[Work], started: int) -> Executed:
    if len(works) == 1:
        now = time.monotonic_ns()
        return Executed([None], started, started, now, now)
    alone = [_tried(backend, [work]) for work in works]
    answers = [one.answers[0] for one in alone]
    now = time.monotonic_ns()
    return Executed(answers, started, started, now, now, 1 + sum(one.runs for one in alone))


def _joined(backend: Backend, works: Sequence[Work]) -> list[Array]:
    rows = sum(work.rows for work in works)
    batches = backend.signature.batches
    columns = []
    for i, spec in enumerate(backend.signature.inputs):
        shape = works[0].shapes[i]
        values = [work.values[i] for work in works]
        columns.append(_column(spec, values, (rows, *shape[1:]) if batches else shape))
    return columns


def _column(spec: TensorSpec, values: list[Value], shape: tuple[int, ...]) -> Array:
    if spec.datatype == BYTES:
        strings = np.empty(prod(shape), dtype=object)
        strings[:] = [element for value in values for element in value]
        return strings.reshape(shape)
    raw = values[0] if len(values) == 1 else b"".join(values)  # type: ignore[arg-type]  # bytes, but for BYTES
    if not raw:
        return np.empty(shape, DTYPES[spec.datatype])
    return np.frombuffer(raw, DTYPES[spec.datatype]).reshape(shape)  # type: ignore[arg-type]  # likewise


def _split(backend: Backend, outputs: list[Array], works: Sequence[Work]) -> list[Answer]:
    if not backend.signature.batches:
        return [Answer([output.shape for output in outputs], [_raw(output) for output in outputs])]
    rows = sum(work.rows for work in works)
    for spec, output in zip(backend.signature.outputs, outputs, strict=True):
        if output.shape[0] != rows:
            raise ValueError(f"output {spec.name} has {output.shape[0]} rows for {rows}")
    if len(works) == 1:
        return [Answer([output.shape for output in outputs], [_raw(output) for output in outputs])]
    columns = [_Rows(output) for output in outputs]
    answers = []
    first = 0
    for work in works:
        last = first + work.rows
        answers.append(
            Answer(
                [(work.rows, *column.inner) for column in columns],
                [column.between(first, last) for column in columns],
            )
        )
        first = last
    return answers


class _Rows:
    """A batch's output, to be cut by rows."""

    __slots__ = ("_array", "_raw", "_row_bytes", "inner")

    def __init__(self, array: Array) -> None:
        self.inner = array.shape[1:]
        self._array = array
        self._row_bytes = prod(self.inner) * array.itemsize
        self._raw = None if array.dtype == object else _raw(array)

    def between(self, first: int, last: int) -> bytes | memoryview:
        if self._raw is None:
            return _raw(self._array[first:last])
        return self._raw[first * self._row_bytes : last * self._row_bytes]


def _raw(array: Array) -> bytes | memoryview:
    if array.dtype == object:
        return join_strings(array.reshape(-1).tolist())
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
