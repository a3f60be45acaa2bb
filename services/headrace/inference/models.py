"""The models that a replica serves: found in the repository, loaded, looked up."""

import asyncio
import hashlib
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
from headrace.inference.flights import FlightRecorder
from headrace.inference.settings import ModelOverride
from headrace.inference.spans import record
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.usage import Usage
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.metering.client import Unmetered, UsageLog
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
    usage: Usage
    timeout_s: float
    digest: str
    cacheable: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model read from disk, not serving yet."""

    version: str
    config: ModelConfig
    backend: Backend
    digest: str


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
        return Loaded(version, config, backend, self._digest(folder / version, config))

    def _backend(self, folder: Path, config: ModelConfig) -> Backend:
        signature = signature_of(config)
        if config.backend == "headrace_text":
            encoder = self.load(config.parameters["encoder"].string_value).backend
            return TextBackend(folder / "tokenizer.json", encoder, signature)
        if config.backend == "onnxruntime" or config.platform == "onnxruntime_onnx":
            file = config.default_model_filename or "model.onnx"
            return OnnxBackend(folder / Path(file).name, signature)
        raise ConfigError(f"{folder.parent / 'config.pbtxt'}: no backend {config.backend!r}")

    def _digest(self, folder: Path, config: ModelConfig) -> str:
        """What the answers depend on: the version's files, its configuration, the model behind it."""
        digest = hashlib.sha256(config.SerializeToString(deterministic=True))
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(f"\0{file.relative_to(folder)}\0".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        encoder = config.parameters["encoder"].string_value if "encoder" in config.parameters else ""
        if encoder:
            digest.update(self.load(encoder).digest.encode())
        return digest.hexdigest()


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


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every model of a replica is served with."""

    instances: int
    telemetry: Telemetry
    usage: UsageLog | Unmetered
    flights: FlightRecorder
    clock: Clock
    replica: str


@asynccontextmanager
async def serving_models(loader: Loader, around: Surroundings) -> AsyncIterator[Models]:
    """Loads every model of the repository and serves it until exit.

    A model that does not load leaves the others alone and is told of by
    `failures` and the log.
    """
    metrics = InferenceMetrics(around.telemetry.registry)
    serving: dict[str, Model] = {}
    failures: dict[str, str] = {}
    for name in loader.names():
        try:
            loaded = await asyncio.to_thread(loader.load, name)
        except Exception as error:  # a model file may fail in any way; the others serve on
            log.error("model not loaded", model=name, exc_info=error)
            failures[name] = str(error)
            continue
        serving[name] = _serve(name, loaded, around, metrics)
    try:
        yield Models(serving, failures)
    finally:
        for model in serving.values():
            await model.batcher.close()
            model.backend.close()


def _serve(name: str, loaded: Loaded, around: Surroundings, metrics: InferenceMetrics) -> Model:
    clock, config = around.clock, loaded.config
    statistics = Statistics(name, loaded.version, metrics)
    usage = Usage(around.usage, clock, name, loaded.version)

    def observe(batch: Batch) -> None:
        statistics.executed(batch, clock.time_ns() // 1_000_000)
        usage.executed(batch)
        around.flights.executed(batch)
        record(around.telemetry.tracer, batch, name, around.replica, clock)

    return Model(
        name,
        loaded.version,
        config,
        loaded.backend,
        Batcher(loaded.backend, policy_of(config), instances_of(config, around.instances), clock, observe),
        Decoder(loaded.backend.signature),
        Encoder(loaded.backend.signature, loaded.version),
        statistics,
        usage,
        timeout_s(config),
        loaded.digest,
        config.response_cache.enable,
    )


def _newest(folder: Path) -> str:
    versions = [int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    if not versions:
        raise ConfigError(f"{folder}: no version folder (a number, such as 1)")
    return str(max(versions))
