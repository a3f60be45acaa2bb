"""An ensemble between the models of its steps that serve now.

What it is bound to stays as it is: a member that is reloaded has the ensemble
bound anew, and requests that are on their way keep the members they began with.
So an answer's digest always is that of the members that made it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from headrace.inference.config import ConfigError
from headrace.inference.core.graph import STEPS, Graph, Step
from headrace.inference.folders import CONFIG
from headrace.inference.loader import LoadedEnsemble
from headrace.inference.member import Member
from headrace.inference.models import Model, Models
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.runtime.errors import HeadraceError


class Unbound(ConfigError):
    """An ensemble that can't serve, because of the model `lacks` of one of its steps."""

    def __init__(self, lacks: str, text: str) -> None:
        super().__init__(text)
        self.lacks = lacks


@dataclass(frozen=True, slots=True)
class BoundEnsemble:
    """An ensemble and the model of each of its steps. `digest` is what its answers depend on, members included."""

    version: str
    config: ModelConfig
    graph: Graph
    models: tuple[Model, ...]
    digest: str

    @property
    def steps(self) -> tuple[Model, ...]:
        """Each model once."""
        return tuple(dict.fromkeys(self.models))

    def members(self) -> list[Member]:
        """The steps as they are executed."""
        given = {tensor for step in self.graph.steps for tensor in step.outputs.values()}
        return [
            _member(step, model, given) for step, model in zip(self.graph.steps, self.models, strict=True)
        ]


def bind(name: str, loaded: LoadedEnsemble, models: Models) -> BoundEnsemble:
    """The ensemble with what serves now; raises Unbound where a step's model does not, or does not fit."""
    graph, place = loaded.graph, f"{name}/{CONFIG}"
    found = tuple(_find(place, number, step, models) for number, step in enumerate(graph.steps))
    problems = graph.fit_problems([model.backend.signature for model in found])
    if problems:
        raise Unbound(name, f"{place}: {'; '.join(problems)}")
    return BoundEnsemble(loaded.version, loaded.config, graph, found, _digest(loaded, found))


def _find(place: str, number: int, step: Step, models: Models) -> Model:
    where = f"{place}: {STEPS}[{number}]"
    try:
        model = models.find(step.model, step.version)
    except HeadraceError as error:
        raise Unbound(step.model, f"{where}: {error.message}") from None
    if model.steps:
        raise Unbound(
            step.model, f"{where}.model_name: {step.model!r} is an ensemble itself, which is not served"
        )
    return model


def _digest(loaded: LoadedEnsemble, found: Sequence[Model]) -> str:
    digest = hashlib.sha256(loaded.digest.encode())
    for model in found:
        digest.update(f"\0{model.version}\0{model.digest}".encode())
    return digest.hexdigest()


def _member(step: Step, model: Model, given: set[str]) -> Member:
    signature = model.backend.signature
    takes = [(spec, step.inputs[spec.name]) for spec in signature.inputs]
    return Member(
        model.name,
        model.backend,
        model.executor,
        model.timings,
        model.lengths,
        tuple((spec, tensor, tensor in given) for spec, tensor in takes),
        tuple(
            (place, step.outputs[spec.name])
            for place, spec in enumerate(signature.outputs)
            if spec.name in step.outputs
        ),
    )
