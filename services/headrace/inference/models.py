"""The models that a replica serves, and how they are looked up."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace.inference import errors
from headrace.inference.backend import Face
from headrace.inference.batching import Timings
from headrace.inference.core.lookups import LookUps
from headrace.inference.core.repository import Index
from headrace.inference.core.runs import Runs
from headrace.inference.decoder import Decoder
from headrace.inference.encoder import Encoder
from headrace.inference.executor import Executor
from headrace.inference.lengths import Checks, Lengths
from headrace.inference.statistics import Statistics
from headrace.inference.usage import Usage
from headrace.inference.v2.model_config_pb2 import ModelConfig


class Use:
    """How many requests hold a model, so that it is closed behind the last of them."""

    __slots__ = ("_count", "_idle")

    def __init__(self) -> None:
        self._count = 0
        self._idle: asyncio.Event | None = None

    def enter(self) -> None:
        """One more."""
        self._count += 1

    def leave(self) -> None:
        """One less."""
        self._count -= 1
        if self._idle is not None and not self._count:
            self._idle.set()

    async def ended(self) -> None:
        """Returns when nobody holds the model; nobody may enter it any more."""
        self._idle = asyncio.Event()
        if self._count:
            await self._idle.wait()


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model version that serves.

    `lengths` is None where its requests do not differ in length, `checks` what
    finds mistakes that only all inputs together show. `steps` are the models of
    an ensemble's steps, each once; it holds them for as long as it is held.
    """

    name: str
    version: str
    config: ModelConfig
    backend: Face
    executor: Executor
    decoder: Decoder
    encoder: Encoder
    statistics: Statistics
    usage: Usage
    timings: Timings
    digest: str
    cacheable: bool
    lengths: Lengths | None = None
    checks: Checks | None = None
    use: Use = field(default_factory=Use)
    loaded_s: int = 0
    runs: Runs = field(default_factory=Runs)
    lookups: LookUps = field(default_factory=LookUps)
    steps: "tuple[Model, ...]" = ()

    def stalled(self, now: float) -> bool:
        """Whether it takes work and gives none back, or a model behind it does; `now` is monotonic, in seconds."""
        return self.runs.stalled(now) or any(step.runs.stalled(now) for step in self.steps)


class Models:
    """Looks models up by name and version; `index` has the state of those that do not serve too.

    A model's versions are swapped in one step of the event loop: whoever looks
    it up gets the old ones or the new ones, and holds what it got by `use`.
    """

    def __init__(self, serving: Iterable[Model] = ()) -> None:
        self._newest: dict[str, Model] = {}
        self._exact: dict[tuple[str, str], Model] = {}
        self._counted: dict[tuple[str, str], Statistics] = {}
        self._lacking: dict[str, str] = {}
        self.index = Index()
        for model in serving:
            self.publish(model.name, [model])

    def find(self, name: str, version: str) -> Model:
        """The model, the newest version for none; raises MODEL_NOT_FOUND, VERSION_NOT_FOUND, MODEL_NOT_READY."""
        model = self._exact.get((name, version)) if version else self._newest.get(name)
        if model is None:
            raise self._absent(name, version)
        return model

    def versions(self, name: str) -> list[Model]:
        """The versions of a model that serve, ascending; empty for none."""
        found = [model for (one, _), model in self._exact.items() if one == name]
        return sorted(found, key=lambda model: int(model.version))

    def all(self) -> list[Model]:
        """Every version that serves, by name and version."""
        return sorted(self._exact.values(), key=lambda model: (model.name, int(model.version)))

    def counted(self) -> list[Statistics]:
        """The counts of every version that serves or ever did: their sums never fall."""
        return list(self._counted.values())

    def publish(self, name: str, models: list[Model]) -> list[Model]:
        """These versions serve `name` from now on; the newest is the last. Returns those that did."""
        before = self.versions(name)
        self._lacking.pop(name, None)
        self.index.loaded(name, [model.version for model in models])
        self._replace(name, models)
        return before

    def withdraw(self, name: str) -> list[Model]:
        """Nothing serves `name` from now on. Returns what did."""
        before = self.versions(name)
        self._lacking.pop(name, None)
        self.index.unloading(name)
        self._replace(name, [])
        return before

    def suspend(self, name: str, lacks: str, reason: str) -> list[Model]:
        """Nothing serves ensemble `name` until model `lacks` serves (again). Returns what did."""
        before = self.versions(name)
        self._lacking[name] = lacks
        self.index.suspended(name, reason)
        self._replace(name, [])
        return before

    def unready(self, now: float) -> list[str]:
        """The models that should serve and don't, or have stalled; `now` is monotonic, in seconds."""
        return [*self.index.failures(), *(model.name for model in self.all() if model.stalled(now))]

    def _replace(self, name: str, models: list[Model]) -> None:
        for old in self.versions(name):
            del self._exact[name, old.version]
        self._exact.update({(name, model.version): model for model in models})
        self._counted.update({(name, model.version): model.statistics for model in models})
        if models:
            self._newest[name] = models[-1]
        else:
            self._newest.pop(name, None)

    def _absent(self, name: str, version: str) -> Exception:
        if name in self._newest:
            return errors.version_not_found(name, version)
        state = self.index.state(name)
        if state is None:
            return errors.model_not_found(name)
        return errors.model_not_ready(name, state, self._lacking.get(name, ""))
