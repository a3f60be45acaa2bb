"""Backends for tests: what they compute is plain, when they finish is the test's decision."""

import threading

import numpy as np

from headrace.inference.core.tensors import Array, Signature, TensorSpec, Value


class Doubling:
    """y = 2 x on FP32 [N, 2]; fails on a row that holds `poison`; counts what it ran.

    With `gate`, each run waits for the gate to open; with `hold` only those that hold that number do.
    """

    platform = "fake"

    def __init__(self, *, gate: threading.Event | None = None, max_batch_size: int = 4) -> None:
        self.signature = Signature(
            "doubling",
            (TensorSpec("x", "FP32", (2,)),),
            (TensorSpec("y", "FP32", (2,)),),
            max_batch_size,
        )
        self.poison = -1.0
        self.hold: float | None = None
        self.runs: list[list[float]] = []
        self.threads: set[int] = set()
        self.started = threading.Semaphore(0)
        self._gate = gate

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Doubles."""
        (x,) = inputs
        self.threads.add(threading.get_ident())
        self.runs.append([float(row[0]) for row in x])
        self.started.release()
        if self._gate is not None and (self.hold is None or (x == self.hold).any()):
            assert self._gate.wait(10)
        if (x == self.poison).any():
            raise RuntimeError("poisoned")
        return [x * np.float32(2)]

    def problem(self, values: list[Value]) -> str:
        """Nothing is ever wrong."""
        return ""

    def close(self) -> None:
        """Nothing to free."""


class TwoCores:
    """A machine of two cores, half of whose memory is in use."""

    def cores(self) -> float:
        """Two."""
        return 2.0

    def memory(self) -> float:
        """Half."""
        return 0.5
