"""Processes that count, for the tests of insight's figures."""

from collections.abc import Iterable

from headrace.insight.core import wanted as w
from headrace.insight.core.board import Board
from headrace.insight.core.exposition import Series

BOUNDS = (0.001, 0.01, 0.1)


class Process:
    """A replica's counters as its /metrics tells them; `restart` makes it a new process of the same name."""

    def __init__(self, name: str = "inference-0", model: str = "linear") -> None:
        self.name = name
        self.model = model
        self.restart()

    def restart(self) -> None:
        self._seconds: list[float] = []
        self._failed = 0

    def answer(self, seconds: Iterable[float]) -> None:
        self._seconds += seconds

    def fail(self, count: int) -> None:
        self._failed += count

    def reading(self) -> dict[Series, float]:
        found = {Series(w.REQUEST_SECONDS, (self.model, "failed", "+Inf")): float(self._failed)}
        for bound in (*BOUNDS, float("inf")):
            le = "+Inf" if bound == float("inf") else str(bound)
            count = sum(value <= bound for value in self._seconds)
            found[Series(w.REQUEST_SECONDS, (self.model, "ok", le))] = float(count)
        return found


class Rounds:
    """A board that is told of processes, two seconds a round."""

    def __init__(self, *processes: Process) -> None:
        self.board = Board(2.0)
        self.now = 1000.0
        self.services = {process.name: w.INFERENCE for process in processes}

    def round(self, *told: tuple[str, dict[Series, float]], silent: tuple[str, ...] = ()) -> None:
        """One round in which these answer; `silent` ones do not, in time."""
        self.now += 2.0
        self.board.expect(self.services, self.now)
        for name, reading in told:
            self.board.answered(name, reading, self.now)
        for name in silent:
            self.board.presence.missed(name, refused=False)
        self.board.round(self.now, round(self.now * 1e9))
