"""What an ensemble's caller is refused for, before any step has cost anything.

Bounds, texts and lengths are those of the steps' models, as far as they take
what the caller gives.
"""

from collections.abc import Sequence
from dataclasses import replace

from headrace.inference.core.graph import Graph, narrowed
from headrace.inference.core.tensors import Signature, TensorSpec, Value, shape_problem
from headrace.inference.ensemble_config import PLATFORM
from headrace.inference.execution import Work
from headrace.inference.member import Member, together_problem


class EnsembleFace:
    """What an ensemble takes: what it declares, within the bounds of the models that take it."""

    platform = PLATFORM

    def __init__(self, graph: Graph, members: Sequence[Member]) -> None:
        takers: dict[str, list[TensorSpec]] = {spec.name: [] for spec in graph.signature.inputs}
        for member in members:
            for spec, tensor, given in member.takes:
                if not given:
                    takers[tensor].append(spec)
        inputs = tuple(narrowed(spec, takers[spec.name]) for spec in graph.signature.inputs)
        self.signature: Signature = replace(graph.signature, inputs=inputs)
        self._first = _first(graph, members)

    def problem(self, values: list[Value]) -> str:
        """What the models that take the caller's values alone find wrong with them."""
        for member, places in self._first:
            problem = member.face.problem([values[place] for place in places])
            if problem:
                return problem
        return ""

    def close(self) -> None:
        """The models of its steps are not its own."""


class EntryChecks:
    """Shapes and lengths that one of the models would not take, although the ensemble's own inputs may have them."""

    def __init__(self, graph: Graph, members: Sequence[Member]) -> None:
        own = graph.signature
        places = {spec.name: place for place, spec in enumerate(own.inputs)}
        self._inputs = own.inputs
        self._first = _first(graph, members)
        self._shapes = [
            (places[tensor], spec, member.signature.max_batch_size)
            for member in members
            for spec, tensor, given in member.takes
            if not given
            and (spec.dims, member.signature.max_batch_size)
            != (own.inputs[places[tensor]].dims, own.max_batch_size)
        ]

    def problem(self, work: Work) -> str:
        """What is wrong with the request; empty when nothing is."""
        for place, spec, most in self._shapes:
            problem = shape_problem(spec, work.shapes[place], most)
            if problem:
                return f"{problem} for input {self._inputs[place].name!r}"
        for member, places in self._first:
            part = Work(
                work.rows, [work.shapes[place] for place in places], [work.values[place] for place in places]
            )
            problem = together_problem(member, part)
            if problem:
                return problem
        return ""


def _first(graph: Graph, members: Sequence[Member]) -> list[tuple[Member, list[int]]]:
    """The steps that take the caller's inputs alone, and the places of those."""
    places = {spec.name: place for place, spec in enumerate(graph.signature.inputs)}
    return [
        (member, [places[tensor] for _, tensor, _ in member.takes]) for member in members if member.at_entry
    ]
