"""What executes a batch. The batcher knows this Protocol and nothing behind it."""

from typing import Protocol

import numpy as np

from headrace.inference.core.tensors import Array, Signature, Value


class PaddedOutputs(list[Array]):
    """The outputs of a model that pads by itself: it computed `cells`, of which `padded` were padding."""

    def __init__(self, outputs: list[Array], cells: int, padded: int) -> None:
        super().__init__(outputs)
        self.cells = cells
        self.padded = padded


class RaggedOutputs(list[Array]):
    """Outputs whose rows differ in length: of each output its rows, one-dimensional; as arrays it holds none.

    A request gets its own, with zeros behind the shorter ones.
    """

    def __init__(self, rows: list[list[Array]]) -> None:
        super().__init__()
        self._rows = rows

    def between(self, first: int, last: int) -> list[Array]:
        """Of each output the rows of one request."""
        return [_stacked(rows[first:last]) for rows in self._rows]

    def lengths(self) -> list[int]:
        """How many rows each output has."""
        return [len(rows) for rows in self._rows]


def _stacked(rows: list[Array]) -> Array:
    longest = max(map(len, rows))
    if len(rows) == 1:
        return rows[0].reshape(1, longest)
    whole = np.zeros((len(rows), longest), rows[0].dtype)
    for row, own in zip(whole, rows, strict=True):
        row[: len(own)] = own
    return whole


class Face(Protocol):
    """What a model takes, gives and refuses, whatever executes it."""

    platform: str
    signature: Signature

    def problem(self, values: list[Value]) -> str:
        """What is wrong with a request's values that only the model can see.

        Called on the event loop for every request: must be quick. Empty when
        nothing is.
        """
        ...

    def close(self) -> None:
        """Frees what the model holds."""
        ...


class Backend(Face, Protocol):
    """A loaded model.

    `execute` is called from instance threads, several at once, and never on the
    event loop.
    """

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Runs the model.

        `inputs` follow the signature's order, the rows of the whole batch
        in their first dimension where the model batches, `ABSENT` for an optional one that was left out; the answer follows the signature's outputs the same way.
        Any exception fails the batch; its halves are then tried.
        """
        ...
