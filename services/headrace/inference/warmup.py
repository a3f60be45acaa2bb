"""Runs a model before its first caller does: what config.pbtxt lists as model_warmup, and one run of zeros.

A run that fails is a load that fails.
"""

import numpy as np

from headrace.inference.backend import Backend
from headrace.inference.backends.onnx import zeros
from headrace.inference.config import ConfigError
from headrace.inference.core.tensors import ABSENT, BYTES, DTYPES, Array, TensorSpec, split_strings
from headrace.inference.folders import ModelFiles
from headrace.inference.v2.model_config_pb2 import DataType, ModelConfig, ModelWarmup

LENGTH = 8
"""Of free dimensions in the run of zeros."""

MAX_RUNS = 1000
MAX_ELEMENTS = 2**24
FOLDER = "warmup"


def warm_up(backend: Backend, config: ModelConfig, files: ModelFiles) -> None:
    """Raises ConfigError for a sample that does not fit, and whatever the model raises."""
    backend.execute(zeros(backend.signature, 1, LENGTH))
    for i, sample in enumerate(config.model_warmup):
        place = f"{files.root / 'config.pbtxt'}: model_warmup[{i}]"
        if sample.count > MAX_RUNS:
            raise ConfigError(f"{place}.count: expected at most {MAX_RUNS}, got {sample.count}")
        inputs = _inputs(place, backend, sample, files)
        for _ in range(sample.count or 1):
            backend.execute(inputs)


def _inputs(place: str, backend: Backend, sample: ModelWarmup, files: ModelFiles) -> list[Array]:
    signature = backend.signature
    names = {spec.name for spec in signature.inputs}
    needed = {spec.name for spec in signature.inputs if not spec.optional}
    if not needed <= set(sample.inputs) <= names:
        raise ConfigError(f"{place}.inputs: expected {sorted(names)}, got {sorted(sample.inputs)}")
    most = max(1, signature.max_batch_size)
    if sample.batch_size > most:
        raise ConfigError(f"{place}.batch_size: expected at most {most}, got {sample.batch_size}")
    rows = (sample.batch_size or 1,) if signature.batches else ()
    return [
        _value(f"{place}.inputs[{spec.name!r}]", spec, sample.inputs[spec.name], rows, files)
        if spec.name in sample.inputs
        else ABSENT
        for spec in signature.inputs
    ]


def _value(
    place: str, spec: TensorSpec, given: ModelWarmup.Input, rows: tuple[int, ...], files: ModelFiles
) -> Array:
    datatype = DataType.Name(given.data_type).removeprefix("TYPE_").replace("STRING", BYTES)
    if datatype != spec.datatype:
        raise ConfigError(f"{place}.data_type: expected {spec.datatype}, got {datatype}")
    shape = (*rows, *given.dims)
    count = int(np.prod(shape, dtype=np.float64))
    if any(size < 0 for size in shape) or count > MAX_ELEMENTS:
        raise ConfigError(f"{place}.dims: expected sizes of 0 or more, {MAX_ELEMENTS} elements at most")
    match given.WhichOneof("input_data_type"):
        case "zero_data":
            return np.full(shape, b"", object) if datatype == BYTES else np.zeros(shape, DTYPES[datatype])
        case "random_data":
            return _random(datatype, shape)
        case "input_data_file":
            return _read(f"{place}.input_data_file", files, given.input_data_file, datatype, shape)
    raise ConfigError(f"{place}: expected zero_data, random_data or input_data_file")


def _random(datatype: str, shape: tuple[int, ...]) -> Array:
    random = np.random.default_rng(0)  # the same at every load: a warm-up that fails fails always
    if datatype == BYTES:
        return np.full(shape, b"warm up", object)
    dtype = DTYPES[datatype]
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)


def _read(place: str, files: ModelFiles, name: str, datatype: str, shape: tuple[int, ...]) -> Array:
    file = files.root / FOLDER / name
    if file not in files.files:
        raise ConfigError(f"{place}: no file {name!r} in the model's folder {FOLDER!r}")
    raw = file.read_bytes()
    count = int(np.prod(shape))
    if datatype == BYTES:
        strings = split_strings(raw, count)
        if isinstance(strings, str):
            raise ConfigError(f"{place}: {strings}")
        texts = np.empty(count, object)
        texts[:] = strings
        return texts.reshape(shape)
    expected = count * DTYPES[datatype].itemsize
    if len(raw) != expected:
        raise ConfigError(f"{place}: expected {expected} bytes, got {len(raw)}")
    return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
