"""How requests ended, gathered into as few reports as their order allows."""

from headrace.guard.core.frames import Outcome
from headrace.guard.core.limits import Code


class Outcomes:
    """Outcomes since the last frame.

    Successes are summed until a failure of the same model comes, because only
    their order around failures matters: failures in a row open a breaker.
    """

    __slots__ = ("_reports", "_successes")

    def __init__(self) -> None:
        self._reports: list[Outcome] = []
        self._successes: dict[str, list[float]] = {}

    def succeeded(self, model: str, latency_s: float) -> None:
        """On the hot path: the most frequent outcome is two additions."""
        run = self._successes.get(model)
        if run is None:
            self._successes[model] = [1.0, latency_s]
        else:
            run[0] += 1.0
            run[1] += latency_s

    def ended(self, model: str, code: Code, latency_s: float, probe: int = 0) -> None:
        """Any outcome, in its place."""
        run = self._successes.pop(model, None)
        if run is not None:
            self._reports.append(_successes(model, run))
        self._reports.append(Outcome(model, code, 1, latency_s, probe))

    def taken(self) -> list[Outcome]:
        """All that has gathered, in order; nothing remains."""
        taken = [*self._reports, *(_successes(model, run) for model, run in self._successes.items())]
        self._reports = []
        self._successes = {}
        return taken


def _successes(model: str, run: list[float]) -> Outcome:
    return Outcome(model, Code.SUCCESS, int(run[0]), run[1] / run[0])
