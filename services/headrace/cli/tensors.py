"""Tensors of the Open Inference Protocol, from what a person types and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace.cli.errors import CliError

BYTES = "BYTES"
DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named tensor; `data` is flat, strings where the datatype is BYTES."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]

    def raw(self) -> bytes:
        """The little-endian form; byte strings behind their length."""
        if self.datatype == BYTES:
            texts = [str(value).encode() for value in self.data]
            return b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)
        return np.array(self.data, dtype=DTYPES[self.datatype]).tobytes()

    def document(self) -> dict[str, object]:
        """Its shape, datatype and flat data."""
        return {"shape": self.shape, "datatype": self.datatype, "data": self.data}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An input as the model declares it."""

    name: str
    datatype: str
    shape: Sequence[int]


def from_text(texts: Sequence[str], wanted: Sequence[Wanted]) -> Tensor:
    """The texts, as the model's one input of strings; raises CliError."""
    found = [tensor for tensor in wanted if tensor.datatype == BYTES]
    if len(found) != 1:
        raise CliError(
            "--text does not fit this model",
            f"it has {len(found)} inputs of texts",
            "give --input NAME=VALUE; see `headrace models`",
        )
    rest = [1] * (len(found[0].shape) - 1)
    return Tensor(found[0].name, BYTES, [len(texts), *rest], list(texts))


def from_argument(argument: str, wanted: Sequence[Wanted]) -> Tensor:
    """`NAME=@file.npy`, `NAME=@file.json` or `NAME=[1, 2]`; raises CliError."""
    name, equals, value = argument.partition("=")
    kinds: Mapping[str, Wanted] = {tensor.name: tensor for tensor in wanted}
    if not equals or name not in kinds:
        raise CliError(
            f"--input {argument[:60]!r} names no input of this model",
            f"it has: {', '.join(kinds)}",
            "write --input NAME=@file.npy",
        )
    return _tensor(kinds[name], _loaded(name, value))


def _loaded(name: str, value: str) -> Any:
    path = Path(value.removeprefix("@"))
    try:
        if not value.startswith("@"):
            return np.array(json.loads(value))
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        return np.array(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError) as error:
        raise CliError(
            f"can't read input {name!r}", str(error), "write NAME=@file.npy, NAME=@file.json or NAME=[1, 2]"
        ) from None


def _tensor(wanted: Wanted, values: Any) -> Tensor:
    shape = list(map(int, values.shape))
    if wanted.datatype == BYTES:
        return Tensor(wanted.name, BYTES, shape, [str(value) for value in values.reshape(-1)])
    dtype = np.dtype(DTYPES[wanted.datatype])
    # From JSON every number is a 64-bit one: narrowing it within its kind is meant.
    fits = np.can_cast(values.dtype, dtype, "same_kind") or (values.dtype.kind == "i" and dtype.kind in "uf")
    if not fits:
        raise CliError(
            f"input {wanted.name!r} has the wrong type",
            f"the model takes {wanted.datatype}, this is {values.dtype}",
            "convert it first",
        )
    return Tensor(wanted.name, wanted.datatype, shape, values.astype(dtype).reshape(-1).tolist())


def from_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Tensor:
    """An output as it came over the wire."""
    if datatype != BYTES:
        return Tensor(name, datatype, list(shape), np.frombuffer(raw, DTYPES[datatype]).tolist())
    texts, at = [], 0
    while at + _LENGTH <= len(raw):
        size = int.from_bytes(raw[at : at + _LENGTH], "little")
        at += _LENGTH
        texts.append(raw[at : at + size].decode(errors="replace"))
        at += size
    return Tensor(name, BYTES, list(shape), texts)
