"""What the cache and its clients tell at /metrics: counted where it happens, collected here."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.cache.core.breaker import State
from headrace.cache.levels import LevelState
from headrace.cache.near import NearCache
from headrace.cache.remote import Remote

Family = CounterMetricFamily | GaugeMetricFamily
Rows = Iterable[tuple[tuple[str, ...], float]]


class ServiceCollector(Collector):
    """The service's metrics, read at each collection."""

    def __init__(
        self,
        states: Callable[[], Sequence[LevelState]],
        watchers: Callable[[], int],
        registry: CollectorRegistry,
    ) -> None:
        self._states = states
        self._watchers = watchers
        registry.register(self)

    def collect(self) -> Iterator[Family]:
        states = self._states()
        yield from _counters(states)
        yield from _gauges(states)
        yield GaugeMetricFamily("headrace_cache_watchers", "Near-caches that watch.", self._watchers())


class ClientCollector(Collector):
    """A client's metrics, in the registry of the process that it is part of."""

    def __init__(
        self, near: NearCache, remote: Remote, found: Mapping[str, int], registry: CollectorRegistry
    ) -> None:
        self._near = near
        self._remote = remote
        self._found = found
        registry.register(self)

    def collect(self) -> Iterator[Family]:
        near, remote = self._near, self._remote
        answers = {"near": near.hits, **self._found}
        rows = [((level,), count) for level, count in answers.items()]
        yield _counter("headrace_cache_client_answers", "Answers by where they were.", rows)
        yield CounterMetricFamily(
            "headrace_cache_client_errors", "Calls that the service did not answer.", remote.errors
        )
        yield CounterMetricFamily(
            "headrace_cache_client_dropped_writes", "Answers that were not written.", remote.dropped_writes
        )
        yield GaugeMetricFamily("headrace_cache_near_live", "1 while the service is heard.", float(near.live))
        yield GaugeMetricFamily("headrace_cache_near_entries", "Entries held.", len(near.shelf))
        yield GaugeMetricFamily("headrace_cache_near_bytes", "Bytes held.", near.shelf.held_bytes)


def _counters(states: Sequence[LevelState]) -> Iterator[Family]:
    lookups = CounterMetricFamily("headrace_cache_lookups", "Look-ups.", labels=("level", "result"))
    for state in states:
        lookups.add_metric((state.level, "hit"), state.tally.hits)
        lookups.add_metric((state.level, "miss"), state.tally.misses)
    yield lookups
    errors = [((state.level,), state.tally.errors) for state in states]
    yield _counter("headrace_cache_errors", "Asking a level failed or took too long.", errors)
    rejected = [((state.level,), state.tally.rejected) for state in states]
    yield _counter("headrace_cache_rejected_entries", "Entries found and not believed.", rejected)
    dropped = [((state.level,), state.tally.dropped_writes) for state in states]
    yield _counter("headrace_cache_dropped_writes", "Entries that a level was not told.", dropped)
    evicted = [((state.level,), state.evicted) for state in states]
    yield _counter("headrace_cache_evicted_entries", "Entries that made room.", evicted)


def _gauges(states: Sequence[LevelState]) -> Iterator[Family]:
    entries = [((state.level,), state.entries) for state in states if state.entries >= 0]
    yield _gauge("headrace_cache_entries", "Entries that a level tells.", entries)
    held = [((state.level,), state.held_bytes) for state in states if state.held_bytes >= 0]
    yield _gauge("headrace_cache_bytes", "Bytes that a level tells, with their overhead.", held)
    up = [((state.level,), float(state.breaker in (None, State.CLOSED))) for state in states]
    yield _gauge("headrace_cache_level_up", "1 when the level is asked.", up)
    problems = GaugeMetricFamily(
        "headrace_cache_level_problem", "1 for what keeps a level from use.", labels=("level", "problem")
    )
    for state in states:
        if state.problem:
            problems.add_metric((state.level, state.problem), 1)
    yield problems


def _counter(name: str, what: str, rows: Rows) -> Family:
    family = CounterMetricFamily(name, what, labels=("level",))
    for labels, value in rows:
        family.add_metric(labels, value)
    return family


def _gauge(name: str, what: str, rows: Rows) -> Family:
    family = GaugeMetricFamily(name, what, labels=("level",))
    for labels, value in rows:
        family.add_metric(labels, value)
    return family
