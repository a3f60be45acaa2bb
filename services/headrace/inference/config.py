"""A model folder's config.pbtxt: read, checked, and turned into what the server needs.

A field that Headrace does not serve is an error that names the field and the
file, never ignored: a model that runs differently from what its configuration
says is worse than one that does not load.
"""

from pathlib import Path

from google.protobuf import text_format

from headrace.inference.core.queue import BatchPolicy
from headrace.inference.core.tensors import MAX_RANK, Signature, TensorSpec
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
}
SERVED_BATCHING = {"max_queue_delay_microseconds", "default_queue_policy", "preferred_batch_size"}
SERVED_TENSOR = {"name", "data_type", "dims"}

EAGER = "headrace_eager"
"""The parameter that makes a model wait for its delay although an instance is idle: "false"."""

DEFAULT_MAX_DELAY_US = 100_000
DEFAULT_MAX_QUEUE = 4096
DEFAULT_TIMEOUT_S = 30.0


class ConfigError(Exception):
    """A config.pbtxt that can't be served; the text names the file and the field."""


def read_config(folder: Path) -> ModelConfig:
    """The folder's configuration; raises `ConfigError`."""
    file = folder / "config.pbtxt"
    try:
        config = text_format.Parse(file.read_text(), ModelConfig())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read: {error}") from None
    except text_format.ParseError as error:
        raise ConfigError(f"{file}: {error}") from None
    if config.name and config.name != folder.name:
        raise ConfigError(f"{file}: name is {config.name!r}, the folder is {folder.name!r}")
    config.name = folder.name
    _refuse_unserved(file, config)
    return config


def _refuse_unserved(file: Path, config: ModelConfig) -> None:
    fields = [f.name for f, _ in config.ListFields() if f.name not in SERVED]
    fields += [
        f"dynamic_batching.{f.name}"
        for f, _ in config.dynamic_batching.ListFields()
        if f.name not in SERVED_BATCHING
    ]
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
    for size in config.dynamic_batching.preferred_batch_size:
        if not 1 <= size <= config.max_batch_size:
            raise ConfigError(
                f"{file}: dynamic_batching.preferred_batch_size: expected 1 to max_batch_size"
                f" ({config.max_batch_size}), got {size}"
            )
    if not config.input or not config.output:
        raise ConfigError(f"{file}: input and output must be declared")


def signature_of(config: ModelConfig) -> Signature:
    """What the model takes and gives."""
    return Signature(
        config.name,
        tuple(_spec(tensor) for tensor in config.input),
        tuple(_spec(tensor) for tensor in config.output),
        config.max_batch_size,
    )


def policy_of(config: ModelConfig) -> BatchPolicy:
    """When the model's batches close."""
    batching = config.dynamic_batching
    return BatchPolicy(
        max_batch_size=max(1, config.max_batch_size),
        max_delay_s=(batching.max_queue_delay_microseconds or DEFAULT_MAX_DELAY_US) / 1e6,
        eager=config.parameters[EAGER].string_value != "false" if EAGER in config.parameters else True,
        max_queue=batching.default_queue_policy.max_queue_size or DEFAULT_MAX_QUEUE,
        preferred=tuple(batching.preferred_batch_size),
    )


def timeout_s(config: ModelConfig) -> float:
    """How long a request may wait whose caller set no deadline."""
    microseconds = config.dynamic_batching.default_queue_policy.default_timeout_microseconds
    return microseconds / 1e6 if microseconds else DEFAULT_TIMEOUT_S


def instances_of(config: ModelConfig, default: int) -> int:
    """How many batches run at once."""
    return sum(group.count or 1 for group in config.instance_group) or default


def override(config: ModelConfig, change: ModelOverride) -> ModelConfig:
    """The configuration with an operator's settings over it."""
    changed = ModelConfig()
    changed.CopyFrom(config)
    policy = changed.dynamic_batching.default_queue_policy
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


def _spec(tensor: ModelInput | ModelOutput) -> TensorSpec:
    datatype = DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return TensorSpec(tensor.name, "BYTES" if datatype == "STRING" else datatype, tuple(tensor.dims))
