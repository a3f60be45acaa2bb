"""Reads models from a repository. Blocks; not for the event loop, and safe for several threads."""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.inference.backend import Backend
from headrace.inference.backends.grouping import GroupingBackend
from headrace.inference.backends.onnx import OnnxBackend, opened, tensors
from headrace.inference.backends.tokenizer import IDS, MASK, TokenizerBackend
from headrace.inference.completion import completed
from headrace.inference.config import (
    ConfigError,
    check_whole,
    given_config,
    override,
    signature_of,
    versions_of,
)
from headrace.inference.core.graph import Graph
from headrace.inference.digests import FileDigests
from headrace.inference.ensemble_config import check_ensemble, graph_of, is_ensemble, members_of
from headrace.inference.folders import CONFIG, ModelFiles, Repository, RepositoryError
from headrace.inference.lengths import lengths_of, mask_of, padding_of
from headrace.inference.onnx_file import check_external_data
from headrace.inference.settings import ModelOverride
from headrace.inference.v2.model_config_pb2 import DataType, ModelConfig
from headrace.inference.warmup import warm_up

TOKENIZER, ONNX = "headrace_tokenizer", "onnxruntime"
ONNX_PLATFORM = "onnxruntime_onnx"
ONNX_FILE, TOKENIZER_FILE = "model.onnx", "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version read from disk, not serving yet. `digest` is what its answers depend on."""

    version: str
    config: ModelConfig
    backend: Backend
    digest: str


@dataclass(frozen=True, slots=True)
class LoadedEnsemble:
    """An ensemble's version, not bound to the models of its steps yet; `digest` is without theirs."""

    version: str
    config: ModelConfig
    graph: Graph
    digest: str


class Loader:
    """Reads and warms the models of a repository. What is read and has not changed on disk is not read again."""

    def __init__(
        self,
        repository: Repository,
        overrides: Mapping[str, ModelOverride],
        digests: FileDigests | None = None,
    ) -> None:
        self.repository = repository
        self._overrides = overrides
        self._digests = digests or FileDigests()
        self._known: dict[str, list[Loaded | LoadedEnsemble]] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def load(self, name: str, given: ModelConfig | None = None) -> list[Loaded | LoadedEnsemble]:
        """The versions of a model that are to serve, ascending; raises whatever is wrong with it.

        `given` stands for the folder's config.pbtxt.
        """
        files = self.repository.files(name)
        with self._locks[name]:
            config = given or given_config(files.root)
            config = _placed(self._overridden(name, config), files)
            versions = versions_of(config).choose(self.repository.versions(name))
            if not versions:
                raise ConfigError(f"{files.root}: no version folder (a number, such as 1) that is to serve")
            known = {one.digest: one for one in self._known.get(name, ())}
            found = []
            for version in map(str, versions):
                digest = self._digest(files, version, config)
                found.append(known.get(digest) or self._read(files, version, config, digest))
            self._known[name] = found
            return found

    def forget(self, name: str) -> None:
        """Lets go of what was read of the model; what serves keeps its own."""
        with self._locks[name]:
            self._known.pop(name, None)

    def members(self, name: str, given: ModelConfig | None = None) -> list[str]:
        """The models of an ensemble's steps, as far as there are any; empty for any other model, and for one that does not load."""
        try:
            config = given or given_config(self.repository.files(name).root)
        except (ConfigError, RepositoryError, OSError):
            return []  # the load tells
        return [one for one in members_of(config) if one != name and self.repository.has(one)]

    def _overridden(self, name: str, config: ModelConfig) -> ModelConfig:
        return override(config, self._overrides.get(name, ModelOverride()))

    def _digest(self, files: ModelFiles, version: str, config: ModelConfig) -> str:
        """What the answers depend on: the version's files and its configuration."""
        # The version too: an answer tells it.
        digest = hashlib.sha256(version.encode() + config.SerializeToString(deterministic=True))
        folder = files.root / version
        for file in files.of_version(version):
            digest.update(f"\0{file.relative_to(folder)}\0".encode() + self._digests.of(file))
        return digest.hexdigest()

    def _read(
        self, files: ModelFiles, version: str, config: ModelConfig, digest: str
    ) -> Loaded | LoadedEnsemble:
        folder, place = files.root / version, files.root / CONFIG
        if is_ensemble(config):
            return LoadedEnsemble(version, config, graph_of(config), digest)
        if config.backend == TOKENIZER:
            check_whole(place, config)
            _check_tokenizer(place, config)
            backend: Backend = TokenizerBackend(folder / TOKENIZER_FILE, signature_of(config))
        else:
            file = folder / Path(config.default_model_filename).name
            check_external_data(file)
            session = opened(file)
            config = completed(file, config, tensors(session.get_inputs()), tensors(session.get_outputs()))
            check_whole(place, config)
            backend = _grouping(OnnxBackend(file, signature_of(config), session), config)
        warm_up(backend, config, files)
        return Loaded(version, config, backend, digest)


def _grouping(backend: Backend, config: ModelConfig) -> Backend:
    """The backend, with rows of about one length together where the configuration says what pads them."""
    lengths = lengths_of(config)
    if lengths is None:
        return backend
    return GroupingBackend(backend, lengths.axes, lengths.names.index(mask_of(config)), padding_of(config))


def _check_tokenizer(file: Path, config: ModelConfig) -> None:
    texts = [(one.data_type, list(one.dims)) for one in config.input]
    tokens = {(one.name, one.data_type, tuple(one.dims)) for one in config.output}
    known = {(name, DataType.TYPE_INT64, (-1,)) for name in (IDS, MASK)}
    if texts != [(DataType.TYPE_STRING, [])] or not tokens <= known or not config.max_batch_size:
        raise ConfigError(
            f"{file}: backend {TOKENIZER!r}: expected max_batch_size of at least 1, one input of TYPE_STRING"
            f" without dims, and outputs {IDS!r} or {MASK!r} of TYPE_INT64 and dims [ -1 ]"
        )


def _placed(config: ModelConfig, files: ModelFiles) -> ModelConfig:
    """The configuration with its backend, by the names of its files where it says none."""
    if is_ensemble(config):
        check_ensemble(files.root / CONFIG, config)
        return config
    if config.backend == TOKENIZER:
        return config
    if not config.backend and config.platform in ("", ONNX_PLATFORM):
        config.backend = ONNX
    if config.backend != ONNX:
        raise ConfigError(f"{files.root / CONFIG}: no backend {config.backend or config.platform!r}")
    config.platform = ONNX_PLATFORM
    config.default_model_filename = config.default_model_filename or ONNX_FILE
    return config
