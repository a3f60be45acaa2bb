"""One batch, from raw request values to raw answers; runs in an instance's thread.

Inputs of a batch are joined once into the buffer that the model reads; outputs
are cut into each request's bytes. A batch that fails is halved until what makes
it fail is alone: one bad request of n costs about 2 log2(n) more runs, and pays
for the runs that it spoiled.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from typing import Protocol

import numpy as np
import structlog

from headrace.inference.backend import Backend, PaddedOutputs, RaggedOutputs
from headrace.inference.core.tensors import ABSENT, Array, Value, join_strings, left_out
from headrace.inference.joining import column, padded
from headrace.metering.client import split_by_rows

log = structlog.get_logger(__name__)


class Part(Protocol):
    """The request that a queue's request is one step of: it pays for it."""

    def spent(self, cpu_ns: int) -> None:
        """The step used this, and nobody gets its answer."""
        ...

    def left(self) -> None:
        """The step has ended behind its caller's back."""
        ...


@dataclass(slots=True, eq=False)
class Work:
    """One request's inputs in the signature's order, each with its full shape.

    `level`, `start_by` and `delays` say how it waits (`core/lanes.py`). `tag` is
    the queue's number of it, which its answer has to carry, `part` what it is a
    step of, if it is one.
    """

    rows: int
    shapes: list[tuple[int, ...]]
    values: list[Value]
    level: int = 1
    start_by: float = inf
    delays: bool = False
    tag: int = 0
    part: Part | None = None


@dataclass(slots=True, eq=False)
class Answer:
    """One request's outputs in the signature's order, in their raw form.

    Values are views into the batch's outputs where the datatype has a fixed size.
    `tag` is that of the work whose rows these are.
    """

    shapes: list[tuple[int, ...]]
    values: list[bytes | memoryview]
    tag: int = 0


@dataclass(slots=True)
class Executed:
    """What became of a batch: an answer, or None for a failure, per request.

    Times are nanoseconds on the monotonic clock; `runs` counts the model's
    executions (more than one after a failure). Where requests differ in length,
    `cells` is what the model computed (rows x padded length), `padded` what of
    that was padding. `shares` is each request's part of
    what the instance's thread had of a core meanwhile: a run that succeeded is
    shared by rows, one that failed is its culprits'.
    """

    answers: list[Answer | None]
    started_ns: int
    infer_ns: int
    output_ns: int
    ended_ns: int
    runs: int = 1
    cells: int = 0
    padded: int = 0
    shares: list[int] = field(default_factory=list)

    @property
    def cpu_ns(self) -> int:
        """All shares."""
        return sum(self.shares)


def execute(
    backend: Backend,
    works: Sequence[Work],
    wanted: Callable[[int], bool] = lambda _: True,
    axes: Sequence[int | None] = (),
) -> Executed:
    """Executes a batch; never raises what the model raised.

    `wanted` tells whether somebody still waits for the request at a place; it is
    asked before a request is run again. `axes` has for each input the dimension in
    which requests may differ, and are padded with zeros; none for none.
    """
    started = time.monotonic_ns()
    if not works:  # everybody left
        return Executed([], started, started, started, started, 0)
    executed = Executed(
        [None] * len(works), started, started, started, started, runs=0, shares=[0] * len(works)
    )
    _Halving(backend, works, wanted, axes, executed).run(range(len(works)))
    executed.ended_ns = time.monotonic_ns()
    if executed.runs > 1:
        executed.output_ns = executed.ended_ns
    return executed


@dataclass(slots=True)
class _Halving:
    """Runs a batch, and its halves while they fail."""

    backend: Backend
    works: Sequence[Work]
    wanted: Callable[[int], bool]
    axes: Sequence[int | None]
    done: Executed

    def run(self, places: Sequence[int]) -> None:
        """Answers these places, or finds out which of them fail."""
        before = time.thread_time_ns()
        self.done.runs += 1
        try:
            for place, answer in zip(places, self._once([self.works[i] for i in places]), strict=True):
                self.done.answers[place] = answer
        except Exception as error:  # the root of an instance's work: a model may raise anything
            # The whole batch's failure has the traceback; its halves would repeat it.
            shown, model = error if self.done.runs == 1 else False, self.backend.signature.model
            log.error("model failed", model=model, requests=len(places), exc_info=shown)
            spoiled = time.thread_time_ns() - before
            if len(places) > 1:
                self._halve(places)
            guilty = [place for place in places if self.done.answers[place] is None]
            self._charge(guilty or places, spoiled)
            return
        self._charge(places, time.thread_time_ns() - before)

    def _once(self, works: Sequence[Work]) -> list[Answer]:
        inputs = _joined(self.backend, works, self.axes)
        infer_ns = time.monotonic_ns()
        outputs = self.backend.execute(inputs)
        output_ns = time.monotonic_ns()
        answers = _split(self.backend, outputs, works)
        self._fill(works, outputs)
        if self.done.runs == 1:
            self.done.infer_ns, self.done.output_ns = infer_ns, output_ns
        return answers

    def _fill(self, works: Sequence[Work], outputs: list[Array]) -> None:
        """Counts what of the run was padding."""
        done = self.done
        if isinstance(outputs, PaddedOutputs):
            done.cells += outputs.cells
            done.padded += outputs.padded
        elif self.axes:
            place, axis = next((i, axis) for i, axis in enumerate(self.axes) if axis is not None)
            sizes = [work.shapes[place][axis] for work in works]
            cells = max(sizes) * sum(work.rows for work in works)
            done.cells += cells
            done.padded += cells - sum(size * work.rows for size, work in zip(sizes, works, strict=True))

    def _halve(self, places: Sequence[int]) -> None:
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            again = [place for place in half if self.wanted(place)]
            if again:
                self.run(again)

    def _charge(self, places: Sequence[int], cpu_ns: int) -> None:
        if len(places) == 1:
            self.done.shares[places[0]] += cpu_ns
            return
        shares = split_by_rows(cpu_ns, [self.works[place].rows for place in places])
        for place, share in zip(places, shares, strict=True):
            self.done.shares[place] += share


def _joined(backend: Backend, works: Sequence[Work], axes: Sequence[int | None]) -> list[Array]:
    rows = sum(work.rows for work in works)
    batches = backend.signature.batches
    columns = []
    for i, spec in enumerate(backend.signature.inputs):
        shape = works[0].shapes[i]
        if spec.optional and (shape, works[0].values[i]) == left_out(spec):
            columns.append(ABSENT)  # of the only request: a model with such inputs does not batch
            continue
        axis = axes[i] if axes else None
        if axis is not None and any(work.shapes[i][axis] != shape[axis] for work in works):
            columns.append(
                padded(spec, [(work.rows, work.shapes[i], work.values[i]) for work in works], axis)
            )
            continue
        values = [work.values[i] for work in works]
        columns.append(column(spec, values, (rows, *shape[1:]) if batches else shape))
    return columns


def _split(backend: Backend, outputs: list[Array], works: Sequence[Work]) -> list[Answer]:
    if not backend.signature.batches:
        return [_whole(outputs, works[0])]
    rows = sum(work.rows for work in works)
    if isinstance(outputs, RaggedOutputs):
        return _split_ragged(outputs, works)
    for spec, output in zip(backend.signature.outputs, outputs, strict=True):
        if output.shape[0] != rows:
            raise ValueError(f"output {spec.name} has {output.shape[0]} rows for {rows}")
    if len(works) == 1:
        return [_whole(outputs, works[0])]
    cut = [_Rows(output) for output in outputs]
    answers = []
    first = 0
    for work in works:
        last = first + work.rows
        answers.append(
            Answer(
                [(work.rows, *one.inner) for one in cut],
                [one.between(first, last) for one in cut],
                work.tag,
            )
        )
        first = last
    return answers


def _split_ragged(outputs: RaggedOutputs, works: Sequence[Work]) -> list[Answer]:
    total = sum(work.rows for work in works)
    if set(outputs.lengths()) != {total}:
        raise ValueError(f"outputs have {outputs.lengths()} rows for {total}")
    answers = []
    first = 0
    for work in works:
        answers.append(_whole(outputs.between(first, first + work.rows), work))
        first += work.rows
    return answers


def _whole(outputs: list[Array], work: Work) -> Answer:
    return Answer([output.shape for output in outputs], [_raw(output) for output in outputs], work.tag)


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
