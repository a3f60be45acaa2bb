"""Puts what was loaded together with what it is served with: a model with its queue, an ensemble with its steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.inference.batcher import Batch, Batcher
from headrace.inference.batching import MAX_LEVELS, UNSAID, Timings, policy_of
from headrace.inference.binding import BoundEnsemble
from headrace.inference.config import instances_of, runs_of
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.decoder import Decoder
from headrace.inference.encoder import Encoder
from headrace.inference.ensemble import Around, Ensemble
from headrace.inference.ensemble_config import most_of
from headrace.inference.entry import EnsembleFace, EntryChecks
from headrace.inference.flights import FlightRecorder
from headrace.inference.lengths import lengths_of
from headrace.inference.loader import Loaded
from headrace.inference.models import Model
from headrace.inference.passage import Passage
from headrace.inference.slots import Slotted, Unshared
from headrace.inference.spans import record
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.usage import Usage
from headrace.inference.watched import WatchedBackend
from headrace.metering.client import Unmetered, UsageLog
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every model of a replica is served with.

    `weights` has the tenants whose weight is not 1, `slotted` the slots that replicas of one machine share.
    """

    instances: int
    telemetry: Telemetry
    usage: UsageLog | Unmetered
    flights: FlightRecorder
    clock: Clock
    replica: str
    weights: Mapping[str, float] = field(default_factory=dict)
    slotted: Slotted = field(default_factory=Unshared)


ENSEMBLE_POLICY = BatchPolicy(levels=(UNSAID,) * MAX_LEVELS, default_level=0)
"""A request's priority stays what it asks for, 0 for nothing: each step's model has levels of its own."""


class Assembly:
    """Puts loaded versions together with what they are served with.

    The counts of a version go on when it is loaded again.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._metrics = InferenceMetrics(around.telemetry.registry)
        self._statistics: dict[tuple[str, str], Statistics] = {}

    def assemble(self, name: str, loaded: Loaded | BoundEnsemble) -> Model:
        """A model that serves as soon as somebody finds it."""
        return (
            self._ensemble(name, loaded) if isinstance(loaded, BoundEnsemble) else self._model(name, loaded)
        )

    def _counts(self, name: str, version: str) -> Statistics:
        statistics = self._statistics.get((name, version))
        if statistics is None:
            statistics = self._statistics[name, version] = Statistics(name, version, self._metrics)
        return statistics

    def _model(self, name: str, loaded: Loaded) -> Model:
        around, clock, config = self._around, self._around.clock, loaded.config
        policy = policy_of(config)
        lengths = lengths_of(config)
        statistics = self._counts(name, loaded.version)
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
                usage.unpaid,
                lambda woken: around.slotted.of(name, loaded.version, instances, woken),
            ),
            Decoder(loaded.backend.signature),
            Encoder(loaded.backend.signature, loaded.version),
            statistics,
            usage,
            Timings(name, policy),
            loaded.digest,
            config.response_cache.enable,
            lengths=lengths,
            checks=lengths,
            loaded_s=clock.time_ns() // 1_000_000_000,
            runs=runs,
        )

    def _ensemble(self, name: str, bound: BoundEnsemble) -> Model:
        around, clock, config = self._around, self._around.clock, bound.config
        statistics = self._counts(name, bound.version)
        usage = Usage(around.usage, clock, name, bound.version)

        def passed(passage: Passage) -> None:
            now_ms = clock.time_ns() // 1_000_000
            statistics.passed(passage.work.rows, passage.queue_ns, passage.compute_ns, now_ms)

        graph, members = bound.graph, bound.members()
        face = EnsembleFace(graph, members)
        for step in bound.steps:  # held until the ensemble is closed
            step.use.enter()
        return Model(
            name,
            bound.version,
            config,
            face,
            Ensemble(
                graph,
                members,
                Around(clock, around.telemetry.tracer, usage.unanswered, passed),
                most=most_of(config),
                step_most=config.ensemble_scheduling.max_inflight_requests,
            ),
            Decoder(face.signature),
            Encoder(face.signature, bound.version),
            statistics,
            usage,
            Timings(name, ENSEMBLE_POLICY),
            bound.digest,
            config.response_cache.enable,
            checks=EntryChecks(graph, members),
            loaded_s=clock.time_ns() // 1_000_000_000,
            steps=bound.steps,
        )


async def retire(model: Model) -> None:
    """Closes a model that nobody finds any more, behind its last request."""
    await model.use.ended()
    await model.executor.close()
    model.backend.close()
    for step in model.steps:
        step.use.leave()
