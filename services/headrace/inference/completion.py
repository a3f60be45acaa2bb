"""A configuration completed from the model's own file, as Triton does for what config.pbtxt leaves out. Pure."""

from collections.abc import Sequence
from pathlib import Path

from headrace.inference.config import ConfigError
from headrace.inference.core.tensors import BYTES, DTYPES, TensorSpec
from headrace.inference.v2.model_config_pb2 import DataType, ModelConfig, ModelInput, ModelOutput

MAX_BATCH = 32
"""Of a model that can batch and does not say how much."""


def completed(
    file: Path, config: ModelConfig, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> ModelConfig:
    """`config` with its inputs, outputs and batch size, from the file's own; what it says is left as it is.

    Raises ConfigError for a batch size of a file that can't batch.
    """
    whole = ModelConfig()
    whole.CopyFrom(config)
    own = {tensor.name: tensor for tensor in (*inputs, *outputs)}
    if whole.max_batch_size == 0 and _leaves_batch_out(whole, own):
        whole.max_batch_size = MAX_BATCH
    batches = whole.max_batch_size > 0
    stuck = [tensor.name for tensor in own.values() if tensor.dims and tensor.dims[0] != -1]
    if batches and stuck:
        raise ConfigError(
            f"{file}: max_batch_size is {whole.max_batch_size}, and the file's {stuck} have no free"
            " first dimension"
        )
    if not whole.input:
        whole.input.extend(
            ModelInput(name=one.name, data_type=_type(file, one), dims=one.dims[batches:]) for one in inputs
        )
    if not whole.output:
        whole.output.extend(
            ModelOutput(name=one.name, data_type=_type(file, one), dims=one.dims[batches:]) for one in outputs
        )
    return whole


def _leaves_batch_out(config: ModelConfig, own: dict[str, TensorSpec]) -> bool:
    """Whether the first dimension is a batch: free in all of the file, and in no declared shape."""
    if not all(tensor.dims and tensor.dims[0] == -1 for tensor in own.values()):
        return False
    declared: list[ModelInput | ModelOutput] = [*config.input, *config.output]
    return all(one.name in own and len(one.dims) == len(own[one.name].dims) - 1 for one in declared)


def _type(file: Path, tensor: TensorSpec) -> DataType.ValueType:
    if tensor.datatype not in (BYTES, *DTYPES):
        raise ConfigError(f"{file}: {tensor.name!r} is {tensor.datatype}, which is not served")
    return DataType.Value("TYPE_STRING" if tensor.datatype == BYTES else f"TYPE_{tensor.datatype}")
