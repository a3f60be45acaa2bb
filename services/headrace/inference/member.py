"""A step of an ensemble and the model that executes it: what it takes, and what is wrong with that."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.inference.backend import Face
from headrace.inference.batching import Timings
from headrace.inference.core.tensors import (
    BYTES,
    Signature,
    TensorSpec,
    Value,
    elements,
    shape_problem,
    split_strings,
    value_problem,
)
from headrace.inference.execution import Work
from headrace.inference.executor import Executor
from headrace.inference.lengths import Lengths

Tensor = tuple[tuple[int, ...], Value | memoryview]
"""A shape, and raw bytes; a text that the caller gave is a list of its elements."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A step and the model that executes it.

    `takes` has the tensor of each of the model's inputs and whether another step
    gives it, `gives` the tensor of each output that the graph names.
    """

    name: str
    face: Face
    executor: Executor
    timings: Timings
    lengths: Lengths | None
    takes: tuple[tuple[TensorSpec, str, bool], ...]
    gives: tuple[tuple[int, str], ...]

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.face.signature

    @property
    def at_entry(self) -> bool:
        """Whether the caller gives all that it takes."""
        return not any(given for _, _, given in self.takes)

    @property
    def from_steps(self) -> bool:
        """Whether the caller gives nothing of what it takes."""
        return all(given for _, _, given in self.takes)


def taken(member: Member, tensors: Mapping[str, Tensor]) -> tuple[list[tuple[int, ...]], list[Value], str]:
    """The step's inputs in its model's order, and what is wrong with them."""
    shapes: list[tuple[int, ...]] = []
    values: list[Value] = []
    most = member.signature.max_batch_size
    for spec, tensor, given in member.takes:
        shape, value = tensors[tensor]
        shapes.append(shape)
        if given:
            problem = shape_problem(spec, shape, most)
            if not problem and spec.datatype == BYTES:
                strings = split_strings(bytes(value), elements(shape))  # type: ignore[arg-type]  # joined
                problem = strings if isinstance(strings, str) else ""
                value = [] if isinstance(strings, str) else strings
            elif not problem:
                problem = value_problem(spec, value)  # type: ignore[arg-type]  # raw bytes, as no strings
            if problem:
                return shapes, values, f"{problem} for input {spec.name!r}"
        values.append(value)  # type: ignore[arg-type]  # a memoryview is read as bytes are
    return shapes, values, ""


def together_problem(member: Member, work: Work) -> str:
    """What is wrong with inputs that are right each by itself; empty when nothing is."""
    if member.signature.batches and any(shape[0] != work.shapes[0][0] for shape in work.shapes):
        return f"expected as many rows in every input, got {[shape[0] for shape in work.shapes]}"
    return "" if member.lengths is None else member.lengths.problem(work)
