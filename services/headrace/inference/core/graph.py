"""The graph of an ensemble: its steps, what is wrong with it, and which of its steps may run. Pure.

Tensors have names that are the ensemble's own; a step maps its model's inputs
and outputs to them. Whatever takes a tensor waits for the step that gives it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.inference.core.tensors import Signature, TensorSpec

MAX_STEPS = 64
STEPS = "ensemble_scheduling.step"


@dataclass(frozen=True, slots=True)
class Step:
    """One model of the graph, of its newest `version` where that is empty.

    `inputs` has the tensor that each of the model's inputs takes, `outputs` the
    tensor that each of its outputs becomes.
    """

    model: str
    version: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Graph:
    """An ensemble's steps between its own inputs and outputs, which are tensors of the same names."""

    signature: Signature
    steps: tuple[Step, ...]

    def problems(self) -> list[str]:
        """What is wrong with it whatever its models are, each with its field."""
        if not 1 <= len(self.steps) <= MAX_STEPS:
            return [f"{STEPS}: expected 1 to {MAX_STEPS}, got {len(self.steps)}"]
        problems = [*self._empty(), *self._given_twice(), *self._ungiven()]
        return problems or self._circles()

    def fit_problems(self, members: Sequence[Signature]) -> list[str]:
        """What of these models, one a step, does not fit the graph; each with its field."""
        problems = [problem for place in range(len(self.steps)) for problem in self._unmapped(place, members)]
        return problems or [
            *self._batch_problems(members),
            *(problem for place in range(len(self.steps)) for problem in self._misfits(place, members)),
        ]

    def followers(self) -> list[set[int]]:
        """For each step those that take what it gives."""
        givers = self._givers()
        followers: list[set[int]] = [set() for _ in self.steps]
        for place, step in enumerate(self.steps):
            for tensor in step.inputs.values():
                if tensor in givers:
                    followers[givers[tensor]].add(place)
        return followers

    def _inputs(self) -> list[str]:
        return [spec.name for spec in self.signature.inputs]

    def _givers(self) -> dict[str, int]:
        return {tensor: place for place, step in enumerate(self.steps) for tensor in step.outputs.values()}

    def _empty(self) -> Iterator[str]:
        for place, step in enumerate(self.steps):
            for field, mapped in (("input_map", step.inputs), ("output_map", step.outputs)):
                if not mapped:
                    yield f"{STEPS}[{place}].{field}: expected at least one entry"

    def _given_twice(self) -> Iterator[str]:
        given = dict.fromkeys(self._inputs(), "input")
        for place, step in enumerate(self.steps):
            for output, tensor in step.outputs.items():
                field = f"{STEPS}[{place}].output_map[{output!r}]"
                if tensor in given:
                    yield f"{field}: {tensor!r} is given by {given[tensor]} already"
                given.setdefault(tensor, field)

    def _ungiven(self) -> Iterator[str]:
        givers, inputs = self._givers(), set(self._inputs())
        taken = {tensor for step in self.steps for tensor in step.inputs.values()}
        for place, step in enumerate(self.steps):
            for name, tensor in step.inputs.items():
                if tensor not in givers and tensor not in inputs:
                    yield f"{STEPS}[{place}].input_map[{name!r}]: nothing gives {tensor!r}"
        for number, spec in enumerate(self.signature.outputs):
            if spec.name not in givers:
                yield f"output[{number}]: no step gives {spec.name!r}"
        for number, spec in enumerate(self.signature.inputs):
            if spec.name not in taken:
                yield f"input[{number}]: no step takes {spec.name!r}"

    def _circles(self) -> list[str]:
        flow, done = Flow(self.followers()), set[int]()
        ready = flow.begin()
        while ready:
            done.add(ready[0])
            ready = [*ready[1:], *flow.finished(ready[0])]
        stuck = [place for place in range(len(self.steps)) if place not in done]
        return [f"{STEPS}: {stuck} wait for each other, in a circle"] if stuck else []

    def _unmapped(self, place: int, members: Sequence[Signature]) -> Iterator[str]:
        step, member = self.steps[place], members[place]
        for field, mapped, specs in (
            ("input_map", step.inputs, member.inputs),
            ("output_map", step.outputs, member.outputs),
        ):
            names = [spec.name for spec in specs]
            for name in sorted(set(mapped) - set(names)):
                yield f"{STEPS}[{place}].{field}[{name!r}]: model {step.model!r} has {names}"
        for spec in member.inputs:
            if spec.name not in step.inputs:
                yield f"{STEPS}[{place}].input_map: nothing for input {spec.name!r} of model {step.model!r}"

    def _batch_problems(self, members: Sequence[Signature]) -> Iterator[str]:
        most = self.signature.max_batch_size
        for step, member in zip(self.steps, members, strict=True):
            if most > member.max_batch_size:
                yield (
                    f"max_batch_size: expected at most {member.max_batch_size}, which model {step.model!r} has,"
                    f" got {most}"
                )

    def _misfits(self, place: int, members: Sequence[Signature]) -> Iterator[str]:
        """Tensors of the step that differ from what gives them, or from what the ensemble promises."""
        step, member, known = self.steps[place], members[place], self._known(members)
        for spec in member.inputs:
            problem = _misfit(known[step.inputs[spec.name]], _whole(spec, member))
            if problem:
                yield f"{STEPS}[{place}].input_map[{spec.name!r}]: {problem}"
        given = {step.outputs.get(spec.name): spec for spec in member.outputs}
        for number, wanted in enumerate(self.signature.outputs):
            found = given.get(wanted.name)
            problem = _misfit(_whole(found, member), _whole(wanted, self.signature)) if found else ""
            if problem:
                yield f"output[{number}]: {problem}"

    def _known(self, members: Sequence[Signature]) -> dict[str, TensorSpec]:
        """Each tensor whole, as what gives it declares it."""
        known = {spec.name: _whole(spec, self.signature) for spec in self.signature.inputs}
        for step, member in zip(self.steps, members, strict=True):
            for spec in member.outputs:
                if spec.name in step.outputs:
                    known[step.outputs[spec.name]] = _whole(spec, member)
        return known


class Flow:
    """One request's way through the steps: which may run, now that others have ended."""

    __slots__ = ("_followers", "_waits")

    def __init__(self, followers: Sequence[set[int]]) -> None:
        self._followers = followers
        self._waits = [0] * len(followers)
        for following in followers:
            for place in following:
                self._waits[place] += 1

    def begin(self) -> list[int]:
        """The steps that wait for none."""
        return [place for place, waits in enumerate(self._waits) if not waits]

    def finished(self, place: int) -> list[int]:
        """The steps that waited for this one last."""
        ready = []
        for following in self._followers[place]:
            self._waits[following] -= 1
            if not self._waits[following]:
                ready.append(following)
        return ready


def chain(followers: Sequence[set[int]]) -> tuple[int, ...]:
    """The steps in order, where each has at most one that follows it and only one begins; else none."""
    flow = Flow(followers)
    order: list[int] = []
    ready = flow.begin()
    while len(ready) == 1:
        order.append(ready[0])
        ready = flow.finished(ready[0])
    return tuple(order) if len(order) == len(followers) else ()


def narrowed(spec: TensorSpec, takers: Sequence[TensorSpec]) -> TensorSpec:
    """An ensemble's input within the bounds of every input that takes it: what breaks one is refused at entry."""
    for taker in takers:
        within = spec.within
        if taker.within is not None:
            low, high = within or taker.within
            within = max(low, taker.within[0]), min(high, taker.within[1])
        longest, finite = min(spec.longest, taker.longest), spec.finite or taker.finite
        spec = replace(spec, within=within, longest=longest, finite=finite)
    return spec


def _whole(spec: TensorSpec, signature: Signature) -> TensorSpec:
    """The tensor with the batch dimension that the model's have."""
    return replace(spec, dims=(-1, *spec.dims)) if signature.batches else spec


def _misfit(given: TensorSpec, taken: TensorSpec) -> str:
    if given.datatype != taken.datatype:
        return f"expected {taken.datatype}, {given.name!r} is {given.datatype}"
    fits = len(given.dims) == len(taken.dims) and all(
        one in (-1, other) or other == -1 for one, other in zip(given.dims, taken.dims, strict=True)
    )
    return "" if fits else f"expected shape {list(taken.dims)}, {given.name!r} has {list(given.dims)}"
