"""The models that a replica serves: found in the repository, loaded, looked up."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from headrace.inference import errors
from headrace.inference.backend import Backend
from headrace.inference.backends.onnx import OnnxBackend, zeros
from headrace.inference.backends.text import TextBackend
from headrace.inference.batcher import Batch, Batcher
from headrace.inference.config import (
    ConfigError,
    instances_of,
    override,
    policy_of,
    read_config,
    signature_of,
    timeout_s,
)
from headrace.inference.decoder import Decoder
from headrace.inference.encoder import Encoder
from headrace.inference.settings import ModelOverride
from headrace.inference.spans import record
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Telemetry

log = structlog.get_logger(__name__)

WARM_UP_LENGTH = 8


@dataclass(frozen=True, slots=True)
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
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model read from disk, not serving yet."""

    version: str
    config: ModelConfig
    backend: Backend


class Loader:
    """Reads models from a repository in Triton's layout. Blocks; not for the event loop."""

    def __init__(self, repository: Path, overrides: Mapping[str, ModelOverride]) -> None:
        self._repository = repository
        self._overrides = overrides
        self._loaded: dict[str, Loaded] = {}

    def names(self) -> list[str]:
        """The repository's models, loaded or not."""
        return sorted(file.parent.name for file in self._repository.glob("*/config.pbtxt"))

    def load(self, name: str) -> Loaded:
        """Loads and warms a model; raises whatever is wrong with it."""
        loaded = self._loaded.get(name)
        if loaded is None:
            loaded = self._loaded[name] = self._read(name)
        return loaded

    def _read(self, name: str) -> Loaded:
        folder = self._repository / name
        config = override(read_config(folder), self._overrides.get(name, ModelOverride()))
        version = _newest(folder)
        backend = self._backend(folder / version, config)
        backend.execute(zeros(backend.signature, 1, WARM_UP_LENGTH))
        return Loaded(version, config, backend)

    def _backend(self, folder: Path, config: ModelConfig) -> Backend:
        signature = signature_of(config)
        if config.backend == "headrace_text":
            encoder = self.load(config.parameters["encoder"].string_value).backend
            return TextBackend(folder / "tokenizer.json", encoder, signature)
        if config.backend == "onnxruntime" or config.platform == "onnxruntime_onnx":
            file = config.default_model_filename or "model.onnx"
            return OnnxBackend(folder / Path(file).name, signature)
        raise ConfigError(f"{folder.parent / 'config.pbtxt'}: no backend {config.backend!r}")


class Models:
    """Looks models up by name and version. `failures` has those that did not load, and why."""

    def __init__(self, serving: Mapping[str, Model], failures: Mapping[str, str]) -> None:
        self._serving = serving
        self.failures = failures

    def find(self, name: str, version: str) -> Model:
        """The model; raises MODEL_NOT_FOUND, VERSION_NOT_FOUND, MODEL_NOT_READY."""
        model = self._serving.get(name)
        if model is None:
            if name in self.failures:
                raise errors.model_not_ready(name, "UNAVAILABLE")
            raise errors.model_not_found(name)
        if version and version != model.version:
            raise errors.version_not_found(name, version)
        return model

    def all(self) -> list[Model]:
        """The models that serve, by name."""
        return list(self._serving.values())


@asynccontextmanager
async def serving_models(
    loader: Loader, instances: int, telemetry: Telemetry, clock: Clock, replica: str
) -> AsyncIterator[Models]:
    """Loads every model of the repository and serves it until exit.

    A model that does not load leaves the others alone and is told of by
    `failures` and the log.
    """
    metrics = InferenceMetrics(telemetry.registry)
    serving: dict[str, Model] = {}
    failures: dict[str, str] = {}
    for name in loader.names():
        try:
            loaded = await asyncio.to_thread(loader.load, name)
        except Exception as error:  # a model file may fail in any way; the others serve on
            log.error("model not loaded", model=name, exc_info=error)
            failures[name] = str(error)
            continue
        serving[name] = _serve(name, loaded, instances, telemetry, clock, replica, metrics)
    try:
        yield Models(serving, failures)
    finally:
        for model in serving.values():
            await model.batcher.close()
            model.backend.close()


def _serve(
    name: str,
    loaded: Loaded,
    instances: int,
    telemetry: Telemetry,
    clock: Clock,
    replica: str,
    metrics: InferenceMetrics,
) -> Model:
    statistics = Statistics(name, loaded.version, metrics)

    def observe(batch: Batch) -> None:
        statistics.executed(batch, clock.time_ns() // 1_000_000)
        record(telemetry.tracer, batch, name, replica, clock)

    return Model(
        name,
        loaded.version,
        loaded.config,
        loaded.backend,
        Batcher(
            loaded.backend,
            policy_of(loaded.config),
            instances_of(loaded.config, instances),
            clock,
            observe,
        ),
        Decoder(loaded.backend.signature),
        Encoder(loaded.backend.signature, loaded.version),
        statistics,
        timeout_s(loaded.config),
    )


def _newest(folder: Path) -> str:
    versions = [int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    if not versions:
        raise ConfigError(f"{folder}: no version folder (a number, such as 1)")
    return str(max(versions))
