"""A backend whose runs are watched, so that one that hangs is seen while it hangs."""

import threading

from headrace.inference.backend import Backend
from headrace.inference.core.runs import Runs
from headrace.inference.core.tensors import Array, Value
from headrace.runtime.clock import Clock


class WatchedBackend:
    """Passes everything on to `inner`; `runs` knows what is under way."""

    def __init__(self, inner: Backend, runs: Runs, clock: Clock) -> None:
        self._inner = inner
        self._runs = runs
        self._clock = clock
        self.platform = inner.platform
        self.signature = inner.signature

    def execute(self, inputs: list[Array]) -> list[Array]:
        """Runs the model."""
        instance = threading.get_ident()
        self._runs.begin(instance, self._clock.monotonic())
        try:
            return self._inner.execute(inputs)
        finally:
            self._runs.end(instance)

    def problem(self, values: list[Value]) -> str:
        """What is wrong with a request's values."""
        return self._inner.problem(values)

    def close(self) -> None:
        """Frees what the model holds."""
        self._inner.close()
