"""Counters of the whole mesh that never go back, made of those of processes that come and go.

A process that restarts counts from zero again. One of its counters that is
lower than before, or gone, tells that, and then all of them start anew: the
others may have passed their old values meanwhile.
"""

from collections.abc import Mapping

from headrace.insight.core.exposition import Series


class Totals:
    """Adds up what processes counted since each was first read.

    What a process counted before its first reading is not known to be of now,
    and is left out. So is what it counted between its last reading and its end.
    """

    def __init__(self, most_series: int) -> None:
        self._most = most_series
        self._last: dict[str, dict[Series, float]] = {}
        self._index: dict[Series, int] = {}
        self._named: dict[str, list[Series]] = {}
        self.values: list[float] = []
        self.left_out = 0

    def add(self, process: str, counters: Mapping[Series, float]) -> None:
        """Takes a reading of all counters of one process."""
        last = self._last.get(process)
        self._last[process] = dict(counters)
        if last is None:
            for series in counters:
                self._grow(series, 0.0)
            return
        restarted = any(counters.get(series, -1.0) < value for series, value in last.items())
        for series, value in counters.items():
            self._grow(series, value if restarted else value - last.get(series, 0.0))

    def forget(self, process: str) -> None:
        """The process is gone for good; what it counted stays."""
        self._last.pop(process, None)

    def place(self, series: Series) -> int | None:
        """Where in `values` the series is; None when no process told it."""
        return self._index.get(series)

    def known(self, name: str) -> list[Series]:
        """The series of a metric, in order."""
        return sorted(self._named.get(name, ()))

    def _grow(self, series: Series, by: float) -> None:
        place = self._index.get(series)
        if place is None:
            if len(self.values) >= self._most:
                self.left_out += 1
                return
            place = self._index[series] = len(self.values)
            self._named.setdefault(series.name, []).append(series)
            self.values.append(0.0)
        self.values[place] += by
