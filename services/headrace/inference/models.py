"""The models that a replica serves: how each is put together, and how it is looked up."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.inference import errors
from headrace.inference.backend import Backend
from headrace.inference.backends.text import TextBackend
from headrace.inference.batcher import Batch, Batcher
from headrace.inference.batching import Timings, policy_of
from headrace.inference.config import instances_of, runs_of
from headrace.inference.core.lookups import LookUps
from headrace.inference.core.repository import Index
from headrace.inference.core.runs import Runs
from headrace.inference.decoder import Decoder
from headrace.inference.encoder import Encoder
from headrace.inference.flights import FlightRecorder
from headrace.inference.lengths import Lengths, lengths_of
from headrace.inference.loader import Loaded
from headrace.inference.spans import record
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.usage import Usage
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.inference.watched import WatchedBackend
from headrace.metering.client import Unmetered, UsageLog
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Telemetry


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
    """One model version that serves."""

    name: str
    version: str
    config: ModelConfig
    backend: Backend
    batcher: Batcher
    decoder: Decoder
    encoder: Encoder
    statistics: Statistics
    usage: Usage
    timings: Timings
    digest: str
    cacheable: bool
    lengths: Lengths | None = None
    use: Use = field(default_factory=Use)
    loaded_s: int = 0
    runs: Runs = field(default_factory=Runs)
    lookups: LookUps = field(default_factory=LookUps)


class Models:
    """Looks models up by name and version; `index` has the state of those that do not serve too.

    A model's versions are swapped in one step of the event loop: whoever looks
    it up gets the old ones or the new ones, and holds what it got by `use`.
    """

    def __init__(self, serving: Iterable[Model] = ()) -> None:
        self._newest: dict[str, Model] = {}
        self._exact: dict[tuple[str, str], Model] = {}
        self._counted: dict[tuple[str, str], Statistics] = {}
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
        self.index.loaded(name, [model.version for model in models])
        self._replace(name, models)
        return before

    def withdraw(self, name: str) -> list[Model]:
        """Nothing serves `name` from now on. Returns what did."""
        before = self.versions(name)
        self.index.unloading(name)
        self._replace(name, [])
        return before

    def unready(self, now: float) -> list[str]:
        """The models that should serve and don't, or have stalled; `now` is monotonic, in seconds."""
        return [*self.index.failures(), *(model.name for model in self.all() if model.runs.stalled(now))]

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
        return errors.model_not_found(name) if state is None else errors.model_not_ready(name, state)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every model of a replica is served with. `weights` has the tenants whose weight is not 1."""

    instances: int
    telemetry: Telemetry
    usage: UsageLog | Unmetered
    flights: FlightRecorder
    clock: Clock
    replica: str
    weights: Mapping[str, float] = field(default_factory=dict)


class Assembly:
    """Puts loaded versions together with what they are served with.

    The counts of a version go on when it is loaded again.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._metrics = InferenceMetrics(around.telemetry.registry)
        self._statistics: dict[tuple[str, str], Statistics] = {}

    def assemble(self, name: str, loaded: Loaded) -> Model:
        """A model that serves as soon as somebody finds it."""
        around, clock, config = self._around, self._around.clock, loaded.config
        policy = policy_of(config)
        longest = loaded.backend.longest if isinstance(loaded.backend, TextBackend) else 0
        lengths = lengths_of(config, longest)
        statistics = self._statistics.get((name, loaded.version))
        if statistics is None:
            statistics = Statistics(name, loaded.version, self._metrics)
            self._statistics[name, loaded.version] = statistics
        usage = Usage(around.usage, clock, name, loaded.version)

        def observe(batch: Batch) -> None:
            statistics.executed(batch, clock.time_ns() // 1_000_000)
            usage.executed(batch)
            around.flights.executed(batch)
            record(around.telemetry.tracer, batch, name, around.replica, clock)

        instances = instances_of(config, around.instances)
        runs = runs_of(config, instances)
        return Model(
            name,
            loaded.version,
            config,
            loaded.backend,
            Batcher(
                WatchedBackend(loaded.backend, runs, clock),
                policy,
                instances,
                clock,
                observe,
                around.weights,
                lengths,
            ),
            Decoder(loaded.backend.signature),
            Encoder(loaded.backend.signature, loaded.version),
            statistics,
            usage,
            Timings(name, policy),
            loaded.digest,
            config.response_cache.enable,
            lengths=lengths,
            loaded_s=clock.time_ns() // 1_000_000_000,
            runs=runs,
        )


async def retire(model: Model) -> None:
    """Closes a model that nobody finds any more, behind its last request."""
    await model.use.ended()
    await model.batcher.close()
    model.backend.close()
