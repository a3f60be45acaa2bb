"""Reads models from a repository. Blocks; not for the event loop, and safe for several threads."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.inference.backend import Backend
from headrace.inference.backends.onnx import OnnxBackend, opened, tensors
from headrace.inference.backends.text import TextBackend
from headrace.inference.completion import completed
from headrace.inference.config import (
    ConfigError,
    check_whole,
    given_config,
    override,
    signature_of,
    versions_of,
)
from headrace.inference.folders import CONFIG, ModelFiles, Repository
from headrace.inference.lengths import padding_of
from headrace.inference.onnx_file import check_external_data
from headrace.inference.settings import ModelOverride
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.inference.warmup import warm_up

ENCODER = "encoder"
"""The parameter that names the model behind a text model."""

TEXT, ONNX = "headrace_text", "onnxruntime"
ONNX_PLATFORM = "onnxruntime_onnx"
ONNX_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version read from disk, not serving yet. `digest` is what its answers depend on."""

    version: str
    config: ModelConfig
    backend: Backend
    digest: str


class Loader:
    """Reads and warms the models of a repository.

    What is read already and has not changed on disk is not read again: a text
    model shares its encoder's session with the model of that name.
    """

    def __init__(self, repository: Repository, overrides: Mapping[str, ModelOverride]) -> None:
        self.repository = repository
        self._overrides = overrides
        self._known: dict[str, list[Loaded]] = {}
        # One a model; a text model's is held while its encoder's is taken, never the other way round.
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def load(self, name: str, given: ModelConfig | None = None) -> list[Loaded]:
        """The versions of a model that are to serve, ascending; raises whatever is wrong with it.

        `given` stands for the folder's config.pbtxt.
        """
        files = self.repository.files(name)
        with self._locks[name]:
            config = given or given_config(files.root)
            config = _placed(override(config, self._overrides.get(name, ModelOverride())), files)
            encoder = self._encoder(config)
            versions = versions_of(config).choose(self.repository.versions(name))
            if not versions:
                raise ConfigError(f"{files.root}: no version folder (a number, such as 1) that is to serve")
            known = {one.digest: one for one in self._known.get(name, ())}
            found = []
            for version in map(str, versions):
                digest = _digest(files, version, config, encoder)
                one = known.get(digest) or self._read(files, version, config, encoder, digest)
                found.append(one)
            self._known[name] = found
            return found

    def forget(self, name: str) -> None:
        """Lets go of what was read of the model; what serves keeps its own."""
        with self._locks[name]:
            self._known.pop(name, None)

    def _encoder(self, config: ModelConfig) -> Loaded | None:
        if config.backend != TEXT:
            return None
        name = config.parameters[ENCODER].string_value if ENCODER in config.parameters else ""
        place = f"{config.name}/{CONFIG}: parameters {ENCODER!r}"
        if not self.repository.has(name):
            raise ConfigError(f"{place}: expected a model of the repository, got {name!r}")
        if given_config(self.repository.root / name).backend == TEXT:
            raise ConfigError(f"{place}: expected a model on tokens, {name!r} is one on text")
        return self.load(name)[-1]

    def _read(
        self, files: ModelFiles, version: str, config: ModelConfig, encoder: Loaded | None, digest: str
    ) -> Loaded:
        folder, place = files.root / version, files.root / CONFIG
        if encoder is not None:
            check_whole(place, config)
            backend: Backend = TextBackend(
                folder / "tokenizer.json", encoder.backend, signature_of(config), padding_of(config)
            )
        else:
            file = folder / Path(config.default_model_filename).name
            check_external_data(file)
            session = opened(file)
            config = completed(file, config, tensors(session.get_inputs()), tensors(session.get_outputs()))
            check_whole(place, config)
            backend = OnnxBackend(file, signature_of(config), session)
        warm_up(backend, config, files)
        return Loaded(version, config, backend, digest)


def _placed(config: ModelConfig, files: ModelFiles) -> ModelConfig:
    """The configuration with its backend, by the names of its files where it says none."""
    if config.backend == TEXT:
        return config
    if not config.backend and config.platform in ("", ONNX_PLATFORM):
        config.backend = ONNX
    if config.backend != ONNX:
        raise ConfigError(f"{files.root / CONFIG}: no backend {config.backend or config.platform!r}")
    config.platform = ONNX_PLATFORM
    config.default_model_filename = config.default_model_filename or ONNX_FILE
    return config


def _digest(files: ModelFiles, version: str, config: ModelConfig, encoder: Loaded | None) -> str:
    """What the answers depend on: the version's files, its configuration, the model behind it."""
    # The version too: an answer tells it.
    digest = hashlib.sha256(version.encode() + config.SerializeToString(deterministic=True))
    folder = files.root / version
    for file in files.of_version(version):
        digest.update(f"\0{file.relative_to(folder)}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    if encoder is not None:
        digest.update(encoder.digest.encode())
    return digest.hexdigest()
