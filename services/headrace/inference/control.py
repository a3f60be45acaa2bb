"""Loads, reloads and unloads the models of one replica while it serves.

One at a time for each model, a few at once for all, and no more waiting than a
bound. A model that does not load leaves what serves alone: the old versions of
it, and the others.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager

import structlog

from headrace.inference import control_errors as errors
from headrace.inference.assembly import Assembly, Surroundings, retire
from headrace.inference.binding import BoundEnsemble, Unbound, bind
from headrace.inference.config import ConfigError
from headrace.inference.folders import RepositoryError
from headrace.inference.loader import Loaded, LoadedEnsemble, Loader
from headrace.inference.models import Model, Models
from headrace.inference.v2.model_config_pb2 import ModelConfig

log = structlog.get_logger(__name__)

AT_ONCE = 2
"""Loads: each holds a core and a model's memory."""

MAX_WAITING = 64

TOLD_CHARACTERS = 1000


class ModelControl:
    """What serves is changed by this only."""

    def __init__(self, loader: Loader, models: Models, assembly: Assembly) -> None:
        self.repository = loader.repository
        self.models = models
        self._loader = loader
        self._assembly = assembly
        self._ensembles: dict[str, list[LoadedEnsemble]] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._asked = 0
        self._tasks: set[asyncio.Task[object]] = set()

    async def load(self, name: str, given: ModelConfig | None = None) -> None:
        """Loads or reloads a model; it serves when this returns. `given` stands for its config.pbtxt.

        With an ensemble come the models of its steps that do not serve yet.
        Raises LOADS_BUSY and MODEL_LOAD_FAILED. A caller who goes changes nothing
        about the load.
        """
        reason = await self._owned(self._load_whole(name, given))
        if reason:
            raise errors.model_load_failed(name, reason)

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Unloads a model: not ready at once, closed behind its last request, which this waits for.

        Ensembles that it is a step of are not ready without it. `dependents` of
        an ensemble are the models of its steps, but for those of other ensembles.
        """
        members = self._own_members(name) if dependents else []
        await self._owned(self._unload(name))
        for member in members:
            await self._owned(self._unload(member))

    async def forget(self, name: str) -> None:
        """Unloads a model that is not in the repository any more."""
        await self.unload(name)
        self.models.index.forget(name)

    async def close(self) -> None:
        """Ends what is under way, and every model."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for model in self.models.all():
            await model.executor.close()
            model.backend.close()

    async def _owned(self, work: Coroutine[object, object, str]) -> str:
        """Runs it to its end, whatever becomes of who waits for it."""
        if self._asked >= MAX_WAITING:
            work.close()
            raise errors.loads_busy(MAX_WAITING)
        self._asked += 1
        task = self._begin(work)
        task.add_done_callback(self._answered)
        return await asyncio.shield(task)

    def _answered(self, _task: "asyncio.Task[str]") -> None:
        self._asked -= 1

    def _begin(self, work: Coroutine[object, object, str]) -> "asyncio.Task[str]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _load_whole(self, name: str, given: ModelConfig | None) -> str:
        for member in await asyncio.to_thread(self._loader.members, name, given):
            if not self.models.versions(member):
                await self._load(member, None)  # the ensemble's own load tells what it lacks
        return await self._load(name, given)

    async def _load(self, name: str, given: ModelConfig | None) -> str:
        """Why it failed; empty when it did not."""
        async with self._turns[name], self._places:
            self.models.index.loading(name)
            try:
                loaded = await asyncio.to_thread(self._loader.load, name, given)
                self._publish(name, [self._whole(name, one) for one in loaded])
            except Exception as error:  # a model file may fail in any way; the others serve on
                log.error("model not loaded", model=name, exc_info=error)
                reason = self.repository.told(_told(error))
                self.models.index.failed(name, reason)
                return reason
            self._ensembles[name] = [one for one in loaded if isinstance(one, LoadedEnsemble)]
            self._bind_above(name)
            return ""

    def _whole(self, name: str, one: Loaded | LoadedEnsemble) -> Loaded | BoundEnsemble:
        return bind(name, one, self.models) if isinstance(one, LoadedEnsemble) else one

    def _publish(self, name: str, loaded: Sequence[Loaded | BoundEnsemble]) -> None:
        # What has not changed goes on as it is, with who shares its answers and who waits in its queue.
        same = {(one.version, one.digest): one for one in self.models.versions(name)}
        new = [same.get((one.version, one.digest)) or self._assembly.assemble(name, one) for one in loaded]
        for old in self.models.publish(name, new):
            if old not in new:
                self._begin(self._retire(old, replaced=old.version in {one.version for one in new}))
        log.info("model serves", model=name, versions=[one.version for one in loaded])

    async def _unload(self, name: str) -> str:
        async with self._turns[name]:
            retiring = [self._begin(self._retire(old, replaced=False)) for old in self.models.withdraw(name)]
            self._ensembles.pop(name, None)
            self._bind_above(name)
            await asyncio.to_thread(self._loader.forget, name)
            if retiring:
                log.info("model serves no longer", model=name)
                await asyncio.wait(retiring)
        return ""

    async def _retire(self, model: Model, *, replaced: bool) -> str:
        await retire(model)
        if not replaced:
            self.models.index.drained(model.name, model.version)
        return ""

    def _bind_above(self, name: str) -> None:
        """Ensembles with a step of this model serve with what it is now, or not at all.

        In the turn of the loop in which it changed: no request finds one with what has gone.
        """
        for above in self._above(name):
            try:
                self._publish(above, [bind(above, one, self.models) for one in self._ensembles[above]])
            except Unbound as error:
                reason = self.repository.told(str(error))[:TOLD_CHARACTERS]
                log.warning("ensemble serves no longer", model=above, reason=reason)
                for old in self.models.suspend(above, error.lacks, reason):
                    self._begin(self._retire(old, replaced=True))

    def _above(self, name: str) -> list[str]:
        """The ensembles that are loaded and have a step of this model."""
        return [above for above, loaded in self._ensembles.items() if any(_uses(one, name) for one in loaded)]

    def _own_members(self, name: str) -> list[str]:
        """The models of an ensemble's steps that are no other ensemble's."""
        steps = {step.model for one in self._ensembles.get(name, ()) for step in one.graph.steps}
        return sorted(member for member in steps if self._above(member) == [name])


def _uses(ensemble: LoadedEnsemble, name: str) -> bool:
    return any(step.model == name for step in ensemble.graph.steps)


def _told(error: Exception) -> str:
    """What is wrong with a model, in one line."""
    if isinstance(error, (ConfigError, RepositoryError)):
        return str(error)[:TOLD_CHARACTERS]
    return " ".join(str(error).split())[:TOLD_CHARACTERS] or type(error).__name__


@asynccontextmanager
async def controlling(loader: Loader, around: Surroundings) -> AsyncIterator[ModelControl]:
    """Control of a replica's models, none loaded yet; closes what was loaded."""
    control = ModelControl(loader, Models(), Assembly(around))
    try:
        yield control
    finally:
        await control.close()
