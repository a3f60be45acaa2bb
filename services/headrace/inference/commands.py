"""What an operator may have a mesh do while it serves: load and unload models, set logs and traces.

`Changes` does it on this replica. `Commands` checks, has it done here, and then
on every other replica.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

import msgspec

from headrace.inference import control_errors
from headrace.inference.agreement import Agreement
from headrace.inference.config import ConfigError, config_of_json
from headrace.inference.control import ModelControl
from headrace.inference.core.repository import name_problem
from headrace.inference.errors import model_not_found
from headrace.inference.folders import Repository
from headrace.inference.observation import LogSettings, LogValue, TraceSettings
from headrace.inference.settings import EXPLICIT

MODEL, LOG, TRACE = "model", "log", "trace"
CONFIG, FILE, DEPENDENTS = "config", "file:", "unload_dependents"


class ModelWish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wanted of a model; `config` is JSON that stands for its config.pbtxt, empty for none."""

    loaded: bool
    config: str = ""
    dependents: bool = False


class Changes:
    """Does on this replica what is wanted."""

    def __init__(self, control: ModelControl, logs: LogSettings, traces: TraceSettings) -> None:
        self.control = control
        self.logs = logs
        self.traces = traces

    async def apply(self, key: str, value: str) -> None:
        """Does it; raises MODEL_LOAD_FAILED, LOADS_BUSY, SETTING_INVALID."""
        kind, _, name = key.partition("/")
        match kind:
            case "model":
                await self._model(name, msgspec.json.decode(value, type=ModelWish))
            case "log":
                self.logs.set(msgspec.json.decode(value, type=dict[str, LogValue]))
            case "trace":
                self.traces.set(msgspec.json.decode(value, type=dict[str, list[str]]))

    async def _model(self, name: str, wish: ModelWish) -> None:
        if not wish.loaded:
            await self.control.unload(name, dependents=wish.dependents)
            return
        try:
            given = config_of_json(name, wish.config) if wish.config else None
        except ConfigError as error:
            raise control_errors.setting_invalid("parameters[config]", str(error)) from None
        await self.control.load(name, given)


class Commands:
    """An operator's commands to the mesh."""

    def __init__(self, mode: str, changes: Changes, agreement: Agreement) -> None:
        self._mode = mode
        self._changes = changes
        self._agreement = agreement
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[int]] = set()

    @property
    def repository(self) -> Repository:
        """Where the models are."""
        return self._changes.control.repository

    async def close(self) -> None:
        """Ends what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def load(self, name: str, parameters: Mapping[str, object]) -> None:
        """Loads or reloads a model everywhere; it serves when this returns.

        Raises MODEL_CONTROL_OFF, MODEL_NAME_INVALID, MODEL_NOT_FOUND,
        SETTING_INVALID, MODEL_LOAD_FAILED, LOADS_BUSY, REPLICA_BEHIND.
        """
        self._check(name)
        for key in parameters:
            if key.startswith(FILE):
                raise control_errors.setting_invalid(
                    f"parameters[{key}]", "files are not taken from a request: lay them in the repository"
                )
            if key != CONFIG:
                raise control_errors.setting_invalid(f"parameters[{key}]", f"expected {CONFIG!r}")
        config = parameters.get(CONFIG, "")
        if not isinstance(config, str):
            raise control_errors.setting_invalid("parameters[config]", "expected a text")
        if not await asyncio.to_thread(self.repository.has, name):
            raise model_not_found(name)
        await self._do(f"{MODEL}/{name}", ModelWish(loaded=True, config=config))

    async def unload(self, name: str, parameters: Mapping[str, object]) -> None:
        """Unloads a model everywhere: not ready at once, and drained here when this returns.

        Raises MODEL_CONTROL_OFF, MODEL_NAME_INVALID, MODEL_NOT_FOUND,
        SETTING_INVALID, LOADS_BUSY, REPLICA_BEHIND.
        """
        self._check(name)
        for key, value in parameters.items():
            if key != DEPENDENTS or not isinstance(value, bool):
                raise control_errors.setting_invalid(
                    f"parameters[{key}]", f"expected {DEPENDENTS!r}, true or false"
                )
        control = self._changes.control
        known = control.models.index.state(name) is not None
        if not known and not await asyncio.to_thread(self.repository.has, name):
            raise model_not_found(name)
        dependents = bool(parameters.get(DEPENDENTS, False))
        await self._do(f"{MODEL}/{name}", ModelWish(loaded=False, dependents=dependents))

    async def set_logs(self, settings: Mapping[str, LogValue]) -> dict[str, LogValue]:
        """Sets what is named and returns all; raises SETTING_INVALID, REPLICA_BEHIND."""
        self._changes.logs.check(settings)
        if settings:
            await self._do(LOG, {**self._changes.logs.told(), **settings})
        return self._changes.logs.told()

    async def set_traces(self, settings: Mapping[str, list[str]], model: str = "") -> dict[str, list[str]]:
        """Sets what is named and returns all, which holds for every model; raises SETTING_INVALID, REPLICA_BEHIND."""
        if model and settings:
            raise control_errors.setting_invalid("model_name", "traces are set for all models together")
        self._changes.traces.check(settings)
        if settings:
            await self._do(TRACE, {**self._changes.traces.told(), **settings})
        return self._changes.traces.told()

    def _check(self, name: str) -> None:
        if self._mode != EXPLICIT:
            raise control_errors.model_control_off(self._mode)
        problem = name_problem(name)
        if problem:
            raise control_errors.model_name_invalid(name, problem)

    async def _do(self, key: str, wish: object) -> None:
        # A caller who leaves half way leaves no replica behind the others.
        task = asyncio.create_task(self._done(key, msgspec.json.encode(wish).decode()))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        await self._agreement.reached(key, await asyncio.shield(task))

    async def _done(self, key: str, value: str) -> int:
        """Done here, and told to the others."""
        async with self._turns[key]:  # what was done last here is what was told last
            await self._changes.apply(key, value)
            return await self._agreement.tell(key, value)

    def _forget(self, task: "asyncio.Task[int]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may be gone: that nobody asks is no fault
