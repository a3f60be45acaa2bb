"""Loads, reloads and unloads the models of one replica while it serves.

One at a time for each model, a few at once for all, and no more waiting than a
bound. A model that does not load leaves what serves alone: the old versions of
it, and the others.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import structlog

from headrace.inference import control_errors as errors
from headrace.inference.config import ConfigError
from headrace.inference.folders import RepositoryError
from headrace.inference.loader import ENCODER, TEXT, Loaded, Loader
from headrace.inference.models import Assembly, Model, Models, Surroundings, retire
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
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._places = asyncio.Semaphore(AT_ONCE)
        self._asked = 0
        self._tasks: set[asyncio.Task[object]] = set()

    async def load(self, name: str, given: ModelConfig | None = None) -> None:
        """Loads or reloads a model; it serves when this returns. `given` stands for its config.pbtxt.

        Raises LOADS_BUSY and MODEL_LOAD_FAILED. A caller who goes changes nothing
        about the load.
        """
        reason = await self._owned(self._load(name, given))
        if reason:
            raise errors.model_load_failed(name, reason)
        for above in self._above(name):
            reason = await self._owned(self._load(above.name, None))
            if reason:
                raise errors.model_load_failed(above.name, reason)

    async def unload(self, name: str, *, dependents: bool = False) -> None:
        """Unloads a model: not ready at once, closed behind its last request, which this waits for.

        `dependents` are the models that it stands behind; they keep their own hold of it otherwise.
        """
        for above in self._above(name) if dependents else ():
            await self._owned(self._unload(above.name))
        await self._owned(self._unload(name))

    async def forget(self, name: str) -> None:
        """Unloads a model that is not in the repository any more."""
        await self.unload(name)
        self.models.index.forget(name)

    async def close(self) -> None:
        """Ends what is under way, and every model."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for model in self.models.all():
            await model.batcher.close()
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

    async def _load(self, name: str, given: ModelConfig | None) -> str:
        """Why it failed; empty when it did not."""
        async with self._turns[name], self._places:
            self.models.index.loading(name)
            try:
                loaded = await asyncio.to_thread(self._loader.load, name, given)
            except Exception as error:  # a model file may fail in any way; the others serve on
                log.error("model not loaded", model=name, exc_info=error)
                reason = self.repository.told(_told(error))
                self.models.index.failed(name, reason)
                return reason
            self._publish(name, loaded)
            return ""

    def _publish(self, name: str, loaded: list[Loaded]) -> None:
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

    def _above(self, name: str) -> list[Model]:
        """The text models that serve and have `name` behind them, the newest version of each."""
        newest = {model.name: model for model in self.models.all() if model.config.backend == TEXT}
        return [model for model in newest.values() if model.config.parameters[ENCODER].string_value == name]


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
