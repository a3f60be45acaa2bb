"""A model on masked sequences, run on rows of about one length: what a mask ends with costs next to nothing."""

from collections.abc import Sequence

import numpy as np

from headrace.inference.backend import Backend, PaddedOutputs
from headrace.inference.core.padding import grouped
from headrace.inference.core.tensors import Array, Value


class GroupingBackend:
    """Passes everything on to `inner`, of `padding` at most what it runs is padding.

    `axes` has the padded dimension of each input, None for the others, `mask` the
    place of the input that is zero where a row is padded. What all rows of a
    group have masked at their ends is cut off: an answer does not depend on it.
    """

    def __init__(self, inner: Backend, axes: Sequence[int | None], mask: int, padding: float) -> None:
        self._inner = inner
        self._axes = axes
        self._mask = mask
        self._padding = padding
        self.platform = inner.platform
        self.signature = inner.signature

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Runs the model once for each group of rows, most often once for all."""
        mask = inputs[self._mask]
        rows, longest = len(mask), mask.shape[self._axes[self._mask] or 1]
        if mask.all():
            return PaddedOutputs(self._inner.execute(inputs), rows * longest, 0)
        lengths = _lengths(mask, self._axes[self._mask] or 1)
        groups = grouped(lengths, self._padding)
        parts = [self._run(inputs, group, lengths[group[0]]) for group in groups]
        cells = sum(lengths[group[0]] * len(group) for group in groups)
        order = np.argsort([place for group in groups for place in group])
        outputs = [np.concatenate(column)[order] for column in zip(*parts, strict=True)]
        return PaddedOutputs(outputs, cells, cells - sum(lengths))

    def problem(self, values: list[Value]) -> str:
        """What is wrong with a request's values."""
        return self._inner.problem(values)

    def close(self) -> None:
        """Frees what the model holds."""
        self._inner.close()

    def _run(self, inputs: list[Array], group: list[int], longest: int) -> list[Array]:
        return self._inner.execute(
            [
                np.ascontiguousarray(array[group] if axis is None else _cut(array[group], axis, longest))
                for array, axis in zip(inputs, self._axes, strict=True)
            ]
        )


def _cut(array: Array, axis: int, longest: int) -> Array:
    return array[(slice(None),) * axis + (slice(longest),)]


def _lengths(mask: Array, axis: int) -> list[int]:
    """Of each row up to its last position that is not masked, 1 at least."""
    size = mask.shape[axis]
    attended = np.moveaxis(mask != 0, axis, 1).reshape(len(mask), size, -1).any(axis=2)
    ends = size - np.argmax(attended[:, ::-1], axis=1)
    return [int(end) if any_of else 1 for end, any_of in zip(ends, attended.any(axis=1), strict=True)]
