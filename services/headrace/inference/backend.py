"""What executes a batch. The batcher knows this Protocol and nothing behind it."""

from typing import Protocol

from headrace.inference.core.tensors import Array, Signature, Value


class PaddedOutputs(list[Array]):
    """The outputs of a model that pads by itself: it computed `cells`, of which `padded` were padding."""

    def __init__(self, outputs: list[Array], cells: int, padded: int) -> None:
        super().__init__(outputs)
        self.cells = cells
        self.padded = padded


class Backend(Protocol):
    """A loaded model.

    `execute` is called from instance threads, several at once, and never on the
    event loop.
    """

    platform: str
    signature: Signature

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Runs the model.

        `inputs` follow the signature's order, the rows of the whole batch
        in their first dimension where the model batches; the answer follows the signature's outputs the same way.
        Any exception fails the batch; its halves are then tried.
        """
        ...

    def problem(self, values: list[Value]) -> str:
        """What is wrong with a request's values that only the model can see.

        Called on the event loop for every request: must be quick. Empty when
        nothing is.
        """
        ...

    def close(self) -> None:
        """Frees what the model holds."""
        ...
