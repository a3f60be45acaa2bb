"""A model folder's config.pbtxt: read, checked, and turned into what the server needs.

A field that Headrace does not serve is an error that names the field and the
file, never ignored: a model that runs differently from what its configuration
says is worse than one that does not load.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from google.protobuf import json_format, text_format

from headrace.inference.batching import EAGER, batching_problems
from headrace.inference.core.repository import VersionPolicy
from headrace.inference.core.runs import Runs
from headrace.inference.core.tensors import DTYPES, MAX_ELEMENTS, MAX_RANK, Signature, TensorSpec
from headrace.inference.settings import ModelOverride
from headrace.inference.v2.model_config_pb2 import (
    DataType,
    ModelConfig,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
)

SERVED = {
    "name",
    "platform",
    "backend",
    "max_batch_size",
    "input",
    "output",
    "instance_group",
    "dynamic_batching",
    "parameters",
    "response_cache",
    "default_model_filename",
    "version_policy",
    "model_warmup",
    "ensemble_scheduling",
}
SERVED_TENSOR = {"name", "data_type", "dims", "optional"}

WITHIN = "headrace_within."
"""Before an input's name: the parameter with its lowest and highest value, "0:30521"."""

LONGEST = "headrace_longest."
"""Before an input's name: the parameter with the most that a dimension of -1 may have, "512"."""

FINITE = "headrace_finite"
"""The parameter of a model that refuses NaN and infinities in its inputs: "true"."""

MAX_CONFIG_BYTES = 1024 * 1024
STALL = "headrace_stall_ms"
"""The parameter with the longest that a run may take before its instance counts as hanging; "0": never."""
DEFAULT_STALL_S = 1.5
MOST = "headrace_max_queue"
"""The parameter with the requests that may be in an ensemble at once; one more is refused."""

EMBEDDINGS = "headrace_embeddings"
"""The parameter of a model whose first output is the embedding of its one input, a text: "true"."""


class ConfigError(Exception):
    """A config.pbtxt that can't be served; the text names the file and the field."""


def read_config(folder: Path) -> ModelConfig:
    """The folder's configuration, which leaves nothing to the model's file; raises `ConfigError`."""
    config = given_config(folder)
    check_whole(folder / "config.pbtxt", config)
    return config


def given_config(folder: Path) -> ModelConfig:
    """What the folder's config.pbtxt says, which may be nothing; raises `ConfigError`."""
    file = folder / "config.pbtxt"
    try:
        size = file.stat().st_size if file.exists() else 0
        if size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{file}: expected at most {MAX_CONFIG_BYTES} bytes, got {size}")
        text = file.read_text() if size else ""
        config = text_format.Parse(text, ModelConfig())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read: {error}") from None
    except text_format.ParseError as error:
        raise ConfigError(f"{file}: {error}") from None
    return _named(file, config, folder.name)


def config_of_json(name: str, text: str) -> ModelConfig:
    """The configuration that a load brings with it, instead of config.pbtxt; raises `ConfigError`."""
    place = Path(name) / "the load's parameter config"
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{place}: expected at most {MAX_CONFIG_BYTES} bytes")
    try:
        config = json_format.Parse(text, ModelConfig(), max_recursion_depth=50)
    except (json_format.ParseError, RecursionError) as error:
        raise ConfigError(f"{place}: {error}") from None
    return _named(place, config, name)


def _named(file: Path, config: ModelConfig, name: str) -> ModelConfig:
    if config.name and config.name != name:
        raise ConfigError(f"{file}: name is {config.name!r}, the folder is {name!r}")
    config.name = name
    if config.max_batch_size < 0:
        raise ConfigError(f"{file}: max_batch_size: expected 0 or more, got {config.max_batch_size}")
    _refuse_unserved(file, config)
    return config


def _refuse_unserved(file: Path, config: ModelConfig) -> None:
    fields = [f.name for f, _ in config.ListFields() if f.name not in SERVED]
    tensors: list[tuple[str, ModelInput | ModelOutput]] = [
        *((f"input[{i}]", tensor) for i, tensor in enumerate(config.input)),
        *((f"output[{i}]", tensor) for i, tensor in enumerate(config.output)),
    ]
    for place, tensor in tensors:
        fields += [f"{place}.{f.name}" for f, _ in tensor.ListFields() if f.name not in SERVED_TENSOR]
        if len(tensor.dims) > MAX_RANK:
            raise ConfigError(f"{file}: {place}.dims: at most {MAX_RANK} dimensions")
    for i, group in enumerate(config.instance_group):
        if group.kind not in (ModelInstanceGroup.KIND_AUTO, ModelInstanceGroup.KIND_CPU):
            fields.append(f"instance_group[{i}].kind")
    if fields:
        raise ConfigError(f"{file}: not served: {', '.join(fields)}")


def check_whole(file: Path, config: ModelConfig) -> None:
    """Raises `ConfigError` for what can only be judged when inputs, outputs and batch size are known."""
    problems = batching_problems(config)
    if problems:
        raise ConfigError(f"{file}: {'; '.join(problems)}")
    if not config.input or not config.output:
        raise ConfigError(f"{file}: input and output must be declared")
    for i, tensor in enumerate(config.input):
        if tensor.optional and config.max_batch_size:
            raise ConfigError(f"{file}: input[{i}].optional: not served where max_batch_size is not 0")
    _refuse_bad_bounds(file, config)
    if STALL in config.parameters and not re.fullmatch(r"\d{1,9}", config.parameters[STALL].string_value):
        raise ConfigError(f"{file}: parameters {STALL!r}: expected milliseconds, 0 for never")
    if FINITE in config.parameters and config.parameters[FINITE].string_value not in ("true", "false"):
        raise ConfigError(f'{file}: parameters {FINITE!r}: expected "true" or "false"')
    if EMBEDDINGS in config.parameters and not _embeds(config):
        raise ConfigError(
            f'{file}: parameters {EMBEDDINGS!r}: expected "true", of a model that batches, with one input of'
            " TYPE_STRING without dims and a first output of TYPE_FP32 with one fixed size"
        )


def _embeds(config: ModelConfig) -> bool:
    text, embedding = config.input[0], config.output[0]
    return (
        config.parameters[EMBEDDINGS].string_value == "true"
        and config.max_batch_size > 0
        and len(config.input) == 1
        and (text.data_type, list(text.dims)) == (DataType.TYPE_STRING, [])
        and embedding.data_type == DataType.TYPE_FP32
        and len(embedding.dims) == 1
        and embedding.dims[0] > 0
    )


def _refuse_bad_bounds(file: Path, config: ModelConfig) -> None:
    types = {tensor.name: _datatype(tensor) for tensor in config.input}
    for key, parameter in config.parameters.items():
        for prefix, problem in ((WITHIN, _within_problem), (LONGEST, _longest_problem)):
            if not key.startswith(prefix):
                continue
            name = key.removeprefix(prefix)
            expected = problem(parameter.string_value, types[name]) if name in types else "an input's name"
            if expected:
                raise ConfigError(
                    f"{file}: parameters {key!r}: expected {expected}, got {parameter.string_value!r}"
                )


def _within_problem(text: str, datatype: str) -> str:
    """What was expected of a `WITHIN` parameter; empty when it is that."""
    dtype = DTYPES.get(datatype)
    if dtype is None or dtype.kind not in "iu":
        return f"no range for an input of {datatype}"
    if not re.fullmatch(r"-?\d{1,20}:-?\d{1,20}", text):
        return "LOWEST:HIGHEST"
    low, high = _range(text)
    limits = np.iinfo(dtype)
    return "" if limits.min <= low <= high <= limits.max else f"two values of {datatype}, the lower one first"


def _longest_problem(text: str, _datatype: str) -> str:
    return "" if re.fullmatch(r"[1-9]\d{0,8}", text) else "a size of at least 1"


def signature_of(config: ModelConfig) -> Signature:
    """What the model takes and gives."""
    return Signature(
        config.name,
        tuple(_bounded(replace(_spec(one), optional=one.optional), config) for one in config.input),
        tuple(_spec(tensor) for tensor in config.output),
        config.max_batch_size,
    )


def versions_of(config: ModelConfig) -> VersionPolicy:
    """Which versions serve; the newest, where the configuration does not say."""
    policy = config.version_policy
    return VersionPolicy(
        latest=policy.latest.num_versions or 1,
        specific=tuple(policy.specific.versions),
        every=policy.WhichOneof("policy_choice") == "all",
    )


def runs_of(config: ModelConfig, instances: int) -> Runs:
    """What watches the model's runs on so many instances."""
    given = config.parameters[STALL].string_value if STALL in config.parameters else ""
    return Runs(instances, int(given) / 1000 if given else DEFAULT_STALL_S)


def instances_of(config: ModelConfig, default: int) -> int:
    """How many batches run at once."""
    return sum(group.count or 1 for group in config.instance_group) or default


def override(config: ModelConfig, change: ModelOverride) -> ModelConfig:
    """The configuration with an operator's settings over it; raises `ConfigError` for one that it can't have."""
    if config.HasField("ensemble_scheduling"):
        return _over_ensemble(config, change)
    changed = ModelConfig()
    changed.CopyFrom(config)
    said = config.dynamic_batching.HasField("default_queue_policy")
    policy = changed.dynamic_batching.default_queue_policy
    if not said and (change.max_queue is not None or change.timeout_ms is not None):
        policy.allow_timeout_override = True  # as it was without one
    if change.max_batch_size is not None:
        changed.max_batch_size = change.max_batch_size
    if change.max_queue is not None:
        policy.max_queue_size = change.max_queue
    if change.max_delay_us is not None:
        changed.dynamic_batching.max_queue_delay_microseconds = change.max_delay_us
    if change.timeout_ms is not None:
        policy.default_timeout_microseconds = change.timeout_ms * 1000
    if change.eager is not None:
        changed.parameters[EAGER].string_value = "true" if change.eager else "false"
    if change.instances is not None:
        del changed.instance_group[:]
        changed.instance_group.add(count=change.instances, kind=ModelInstanceGroup.KIND_CPU)
    return changed


def _over_ensemble(config: ModelConfig, change: ModelOverride) -> ModelConfig:
    changed = ModelConfig()
    changed.CopyFrom(config)
    for name in ("max_delay_us", "eager", "timeout_ms", "instances"):
        if getattr(change, name) is not None:
            raise ConfigError(f"setting {name} of model {config.name!r}: set it for the models of its steps")
    if change.max_batch_size is not None:
        changed.max_batch_size = change.max_batch_size
    if change.max_queue is not None:
        changed.parameters[MOST].string_value = str(change.max_queue)
    return changed


def _spec(tensor: ModelInput | ModelOutput) -> TensorSpec:
    return TensorSpec(tensor.name, _datatype(tensor), tuple(tensor.dims))


def _bounded(spec: TensorSpec, config: ModelConfig) -> TensorSpec:
    within, longest = WITHIN + spec.name, LONGEST + spec.name
    parameters = config.parameters
    return replace(
        spec,
        within=_range(parameters[within].string_value) if within in parameters else None,
        longest=int(parameters[longest].string_value) if longest in parameters else MAX_ELEMENTS,
        finite=_refuses_infinity(spec, config),
    )


def _refuses_infinity(spec: TensorSpec, config: ModelConfig) -> bool:
    dtype = DTYPES.get(spec.datatype)
    wanted = FINITE in config.parameters and config.parameters[FINITE].string_value == "true"
    return wanted and dtype is not None and dtype.kind == "f"


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    return int(low), int(high)


def _datatype(tensor: ModelInput | ModelOutput) -> str:
    datatype = DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return "BYTES" if datatype == "STRING" else datatype
