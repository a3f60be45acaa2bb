"""The figures of the mesh, out of the metrics of its processes."""

from collections.abc import Mapping
from math import inf

from headrace.insight.core import wanted as w
from headrace.insight.core.exposition import Series
from headrace.insight.core.history import History, Window
from headrace.insight.core.presence import Presence
from headrace.insight.core.quantiles import Buckets, quantile, quantiles
from headrace.insight.core.totals import Totals
from headrace.insight.figures import (
    CacheLevelFigures,
    GatewayFigures,
    HistoryPoint,
    LimitFigures,
    ModelFigures,
    Overview,
)

RATE_WINDOW_S, QUANTILE_WINDOW_S, POINT_S = 10.0, 60.0, 10.0
HISTORY_S = 600.0
MOST_SERIES = 8192
"""Of the whole mesh, which is sixty models; further ones have no figures."""
LEVELS = ("near", "memory", "redis", "disk")

Reading = Mapping[Series, float]


class Board:
    """Takes readings, a round at a time, and tells what they come to."""

    def __init__(self, interval_s: float) -> None:
        self.presence = Presence()
        self.totals = Totals(MOST_SERIES)
        # Rounds are never quite an interval apart.
        self._slack_s = interval_s / 2
        self._history = History(max(2, round(HISTORY_S / interval_s) + 1))
        self._gauges: dict[str, Reading] = {}
        self._rate_s = max(RATE_WINDOW_S, 2 * interval_s)
        self._quantile_s = max(QUANTILE_WINDOW_S, 2 * interval_s)

    def expect(self, processes: Mapping[str, str], now: float) -> None:
        """Takes the services of all processes by their names; the others are gone."""
        for name in self.presence.expect(processes, now):
            self.totals.forget(name)
            self._gauges.pop(name, None)

    def answered(self, name: str, reading: Reading, now: float) -> None:
        """Takes what a process told."""
        self.presence.answered(name, now)
        self.totals.add(name, {s: value for s, value in reading.items() if s.name not in w.GAUGES})
        self._gauges[name] = {s: value for s, value in reading.items() if s.name in w.GAUGES}

    def round(self, now: float, time_ns: int) -> None:
        """All processes were asked."""
        self._history.push(now, time_ns, self.totals.values, self.presence.services_up())

    def overview(self, now: float, *, history: bool = False) -> Overview:
        """The figures of now."""
        newest = self._history.newest
        up = self.presence.services_up()
        replicas, edge = self._windows(w.INFERENCE), self._windows(w.GATEWAY)
        return Overview(
            time_ns=newest.time_ns if newest else 0,
            rate_window_s=self._rate_s,
            quantile_window_s=self._quantile_s,
            processes=self.presence.figures(now),
            gateway=self._gateway(*edge) if w.GATEWAY in up else None,
            codes=self._codes(replicas[0]),
            models=self._models(*replicas) if w.INFERENCE in up else (),
            cache_levels=self._cache_levels(up),
            limits=self._limits(replicas[0]) if w.INFERENCE in up else None,
            breakers=self._breakers() if w.GUARD in up else None,
            cost=self._cost() if w.METERING in up else None,
            history=self._points() if history else (),
        )

    def _windows(self, service: str) -> tuple[Window | None, Window | None]:
        window, slack = self._history.window, self._slack_s
        return window(service, self._rate_s + slack), window(service, self._quantile_s + slack)

    def _gateway(self, rates: Window | None, long: Window | None) -> GatewayFigures:
        classes = {s.labels[0]: s for s in self.totals.known(w.EDGE_REQUESTS)}
        return GatewayFigures(
            requests_per_s=self._rate(rates, *classes.values()),
            refused_per_s=self._rate(rates, *(s for c, s in classes.items() if c == "4")),
            failed_per_s=self._rate(rates, *(s for c, s in classes.items() if c == "5")),
            active_requests=int(self._gauge(w.EDGE_ACTIVE)),
            connections=int(self._gauge(w.EDGE_CONNECTIONS)),
            latency=quantiles(self._buckets(long, w.EDGE_MS, scale=1e-3)),
        )

    def _codes(self, rates: Window | None) -> tuple[tuple[str, float], ...]:
        if rates is None:
            return ()
        known = ((s.labels[0], rates.rate(self.totals.place(s))) for s in self.totals.known(w.CALLS))
        return tuple((code, rate) for code, rate in known if rate > 0)

    def _models(self, rates: Window | None, long: Window | None) -> tuple[ModelFigures, ...]:
        names = sorted({series.labels[0] for series in self.totals.known(w.REQUEST_SECONDS)})
        return tuple(self._model(name, rates, long) for name in names)

    def _model(self, name: str, rates: Window | None, long: Window | None) -> ModelFigures:
        failed = Series(w.REQUEST_SECONDS, (name, "failed", "+Inf"))
        answered = Series(w.REQUEST_SECONDS, (name, "ok", "+Inf"))
        return ModelFigures(
            model=name,
            requests_per_s=self._rate(rates, answered, failed),
            failed_per_s=self._rate(rates, failed),
            latency=quantiles(self._buckets(long, w.REQUEST_SECONDS, name, "ok")),
            queue=quantiles(self._buckets(long, w.QUEUE_SECONDS, name)),
            compute=quantiles(self._buckets(long, w.COMPUTE_SECONDS, name)),
            batch_rows=self._ratio(long, Series(w.BATCH_ROWS, (name,)), Series(w.BATCHES, (name,))),
        )

    def _cache_levels(self, up: set[str]) -> tuple[CacheLevelFigures, ...]:
        """What the replicas ask of their own memory, then what the service asks of each of its levels."""
        found = []
        if w.INFERENCE in up:
            everything = self.totals.known(w.NEAR_ANSWERS)
            found += self._level(w.INFERENCE, "near", [Series(w.NEAR_ANSWERS, ("near",))], everything)
        if w.CACHE in up:
            for level in LEVELS[1:]:
                hits, misses = (Series(w.LOOKUPS, (level, result)) for result in ("hit", "miss"))
                found += self._level(w.CACHE, level, [hits], [hits, misses])
        return tuple(found)

    def _level(
        self, service: str, level: str, hits: list[Series], lookups: list[Series]
    ) -> list[CacheLevelFigures]:
        if all(self.totals.place(series) is None for series in lookups):
            return []
        rates, long = self._windows(service)
        asked = self._growth(long, *lookups)
        rate = self._growth(long, *hits) / asked if asked else None
        return [CacheLevelFigures(level, self._rate(rates, *lookups), rate)]

    def _limits(self, rates: Window | None) -> LimitFigures | None:
        if self.totals.place(Series(w.ADMITTED)) is None:
            return None  # guard is switched off
        return LimitFigures(
            admitted_per_s=self._rate(rates, Series(w.ADMITTED)),
            refused_per_s=self._rate(rates, Series(w.REFUSED)),
            alone=int(self._gauge(w.ALONE)),
        )

    def _breakers(self) -> tuple[tuple[str, str], ...]:
        states = {series.labels for told in self._told() for series in told if series.name == w.BREAKER_STATE}
        return tuple(sorted((model, state) for model, state in states))

    def _cost(self) -> tuple[tuple[str, int], ...]:
        _, long = self._windows(w.METERING)
        if long is None:
            return ()
        # Whole nano-units: the time is made whole instead, to the nanosecond.
        elapsed_ns = max(1, round(long.seconds * 1e9))
        return tuple(
            (s.labels[0], int(long.growth(self.totals.place(s))) * 60 * 10**9 // elapsed_ns)
            for s in self.totals.known(w.PAID)
        )

    def _points(self) -> tuple[HistoryPoint, ...]:
        ends = [s for s in self.totals.known(w.REQUEST_SECONDS) if s.labels[2] == "+Inf"]
        failed = [s for s in ends if s.labels[1] == "failed"]
        stretch_s = max(POINT_S, self._rate_s) + self._slack_s
        return tuple(
            HistoryPoint(
                frame.time_ns,
                self._rate(window, *ends),
                self._rate(window, *failed),
                quantile(0.95, self._buckets(window, w.REQUEST_SECONDS, None, "ok")),
            )
            for frame, window in self._history.windows(w.INFERENCE, stretch_s)
        )

    def _told(self) -> list[Reading]:
        """The gauges of the processes that answer: an old value is no value."""
        up = self.presence.up()
        return [told for name, told in self._gauges.items() if name in up]

    def _gauge(self, name: str) -> float:
        return sum(told.get(Series(name), 0.0) for told in self._told())

    def _growth(self, window: Window | None, *series: Series) -> float:
        return sum(window.growth(self.totals.place(s)) for s in series) if window else 0.0

    def _rate(self, window: Window | None, *series: Series) -> float | None:
        return self._growth(window, *series) / window.seconds if window else None

    def _ratio(self, window: Window | None, above: Series, below: Series) -> float | None:
        whole = self._growth(window, below)
        return self._growth(window, above) / whole if whole else None

    def _buckets(self, window: Window | None, name: str, *labels: str | None, scale: float = 1.0) -> Buckets:
        """The growth of a histogram's buckets; None among the labels is any."""
        counts: dict[float, float] = {}
        for series in self.totals.known(name):
            if all(label in (None, own) for label, own in zip(labels, series.labels, strict=False)):
                bound = float(series.labels[-1]) * scale
                counts[bound] = counts.get(bound, 0.0) + self._growth(window, series)
        return sorted(counts.items()) if inf in counts else ()
