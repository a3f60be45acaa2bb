"""A run: faults, one after the other, while callers call; written down as it goes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.chaos.faults import Fault, Processes, Scene
from tests.chaos.history import History
from tests.chaos.load import Load
from tests.chaos.schedule import Round
from tests.support.mesh import Mesh

Tell = Callable[[str], None]

BETWEEN = 20
"""Answers before each fault, and after the last one: the mesh works when it is broken, and again."""


class Run:
    """One history of one mesh."""

    def __init__(self, mesh: Mesh, history: History, load: Load, *, tell: Tell) -> None:
        self._mesh = mesh
        self._history = history
        self._load = load
        self._tell = tell

    def strike(
        self,
        rounds: Sequence[Round],
        catalogue: Mapping[str, Fault],
        processes: Processes,
        *,
        until_s: float = float("inf"),
    ) -> int:
        """Breaks and mends, round for round, under a load that is on; how many there were before `until_s`."""
        for number, one in enumerate(rounds):
            if self._history.now > until_s:
                return number
            self._load.answers(BETWEEN)
            time.sleep(one.pause_s)
            scene = Scene(self._mesh, processes, one.pick, one.lasts_s)
            self._round(number, one.kind, catalogue[one.kind](scene))
        self._load.answers(BETWEEN)
        return len(rounds)

    def _round(self, number: int, kind: str, fault: Iterator[list[str]]) -> None:
        victims = next(fault)
        answered, refused, began = self._history.answered, self._history.refused, self._history.now
        with self._history.fault(kind, victims):
            for _ in fault:
                raise AssertionError(f"{kind} yields once")
        self._tell(
            f"{number + 1:4}  {kind:28} {', '.join(victims):32} {self._history.now - began:5.1f} s"
            f"  {self._history.answered - answered:5} answered  {self._history.refused - refused} refused"
        )
