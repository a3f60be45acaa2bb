"""Models whose requests differ in length: which dimension that is, and how long a request is.

A model opts in: the parameter `headrace_ragged.NAME` names the dimension (its
place in `dims`, from 0) of each input that is padded with zeros at its end,
`headrace_mask` the one of these inputs by which the model knows padding from
what was sent.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.tensors import DTYPES
from headrace.inference.execution import Work
from headrace.inference.v2.model_config_pb2 import DataType, ModelConfig, ModelInput

RAGGED = "headrace_ragged."
MASK = "headrace_mask"
PADDING = "headrace_padding_percent"
"""The parameter with the largest share of a batch that may be padding."""

MAX_PADDING_PERCENT = 90


class Checks(Protocol):
    """What is asked of each request beside what its tensors are by themselves."""

    def problem(self, work: Work, /) -> str:
        """What is wrong with it; empty when nothing is."""
        ...


class Lengths(Checks, Protocol):
    """What the batcher asks of each request of a model that pads."""

    def length(self, work: Work, /) -> int:
        """How long it is, 1 or more."""
        ...

    def bucket(self, work: Work, /) -> Hashable:
        """Its shapes, but for what may differ."""
        ...


@dataclass(frozen=True, slots=True)
class RaggedInputs:
    """Inputs that are padded: `axes` has the dimension in a request's whole shape, None for the others."""

    names: tuple[str, ...]
    axes: tuple[int | None, ...]

    def problem(self, work: Work) -> str:
        """All padded inputs of a request are equally long."""
        sizes = self._sizes(work)
        if len(set(sizes)) <= 1:
            return ""
        names = [name for name, axis in zip(self.names, self.axes, strict=True) if axis is not None]
        return f"expected {' and '.join(names)} of one length, got {sizes}"

    def length(self, work: Work) -> int:
        """The size of the padded dimension."""
        return self._sizes(work)[0] or 1

    def bucket(self, work: Work) -> Hashable:
        """The other dimensions, but for the batch."""
        return tuple(
            [
                shape[1:] if axis is None else shape[1:axis] + shape[axis + 1 :]
                for shape, axis in zip(work.shapes, self.axes, strict=True)
            ]
        )

    def _sizes(self, work: Work) -> list[int]:
        return [shape[axis] for shape, axis in zip(work.shapes, self.axes, strict=True) if axis is not None]


def lengths_of(config: ModelConfig) -> RaggedInputs | None:
    """How the model's requests differ in length; None when they don't."""
    axes = tuple(_axis(config, tensor) for tensor in config.input)
    return RaggedInputs(tuple(one.name for one in config.input), axes) if any(axes) else None


def padding_of(config: ModelConfig) -> float:
    """The largest share of a batch that may be padding."""
    if PADDING not in config.parameters:
        return BatchPolicy().padding
    return int(config.parameters[PADDING].string_value) / 100


def mask_of(config: ModelConfig) -> str:
    """The input that is zero where a row is padded."""
    return config.parameters[MASK].string_value


def length_problems(config: ModelConfig) -> list[str]:
    """Every mistake in what says that lengths differ, each with its parameter."""
    problems = []
    ragged = {key.removeprefix(RAGGED) for key in config.parameters if key.startswith(RAGGED)}
    inputs = {tensor.name: tensor for tensor in config.input}
    for name in sorted(ragged):
        text = config.parameters[RAGGED + name].string_value
        expected = _ragged_expected(inputs[name], text) if name in inputs else "an input's name"
        if expected:
            problems.append(f"parameters {RAGGED + name!r}: expected {expected}, got {text!r}")
    mask = config.parameters[MASK].string_value if MASK in config.parameters else ""
    if bool(ragged) != bool(mask) or (mask and mask not in ragged):
        problems.append(
            f"parameters {MASK!r}: expected one of the inputs with {RAGGED}NAME ({sorted(ragged)}), got {mask!r}"
        )
    if ragged and not config.max_batch_size:
        problems.append(f"parameters {RAGGED!r}: expected max_batch_size of at least 1")
    if ragged and any(-1 in tensor.dims for tensor in config.output):
        problems.append(f"parameters {RAGGED!r}: expected outputs without free dimensions")
    if PADDING in config.parameters:
        text = config.parameters[PADDING].string_value
        if not (text.isascii() and text.isdecimal() and int(text) <= MAX_PADDING_PERCENT):
            problems.append(f"parameters {PADDING!r}: expected 0 to {MAX_PADDING_PERCENT}, got {text!r}")
    return problems


def _axis(config: ModelConfig, tensor: ModelInput) -> int | None:
    key = RAGGED + tensor.name
    return 1 + int(config.parameters[key].string_value) if key in config.parameters else None


def _ragged_expected(tensor: ModelInput, text: str) -> str:
    free = [str(place) for place, size in enumerate(tensor.dims) if size == -1]
    if DataType.Name(tensor.data_type).removeprefix("TYPE_") not in DTYPES:
        return "an input of numbers"
    return "" if text in free else f"the place of a free dimension ({', '.join(free) or 'it has none'})"
