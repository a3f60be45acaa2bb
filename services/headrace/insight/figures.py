"""What the mesh does now, in figures: to the collector, to the servicer, to the client and to whoever shows it.

Plain values without behaviour; part of what neighbours may import. None is what
is not known, which is never the same as zero.
"""

from dataclasses import dataclass
from enum import Enum


class Health(Enum):
    """Whether a process answers. STALE: not in time of late; DOWN: it refuses, or has been silent for long."""

    UNKNOWN = 0
    UP = 1
    STALE = 2
    DOWN = 3


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """A process, and how many seconds ago it answered last."""

    name: str
    service: str
    health: Health
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantile in seconds; `at_least` when all that is known is that it is no less."""

    seconds: float
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of so many values that at least one lies above each."""

    p50: Estimate | None = None
    p95: Estimate | None = None
    p99: Estimate | None = None


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """What Envoy counts: HTTP requests, whatever gRPC says inside."""

    requests_per_s: float | None
    refused_per_s: float | None
    failed_per_s: float | None
    active_requests: int
    connections: int
    latency: Quantiles


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What all replicas together did with one model."""

    model: str
    requests_per_s: float | None
    failed_per_s: float | None
    latency: Quantiles
    queue: Quantiles
    compute: Quantiles
    batch_rows: float | None


@dataclass(frozen=True, slots=True)
class CacheLevelFigures:
    """One level of the cache; `hit_rate` is of the look-ups that came as far."""

    level: str
    lookups_per_s: float | None
    hit_rate: float | None


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """What the limits did; `alone` replicas admit without guard."""

    admitted_per_s: float | None
    refused_per_s: float | None
    alone: int


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """A stretch of time that ended at `time_ns`."""

    time_ns: int
    requests_per_s: float | None
    failed_per_s: float | None
    p95: Estimate | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything, at `time_ns`.

    `breakers` is by model, `cost` nano-units a minute by currency; both None
    when nobody tells them.
    """

    time_ns: int
    rate_window_s: float
    quantile_window_s: float
    processes: tuple[ProcessFigures, ...] = ()
    gateway: GatewayFigures | None = None
    codes: tuple[tuple[str, float], ...] = ()
    models: tuple[ModelFigures, ...] = ()
    cache_levels: tuple[CacheLevelFigures, ...] = ()
    limits: LimitFigures | None = None
    breakers: tuple[tuple[str, str], ...] | None = None
    cost: tuple[tuple[str, int], ...] | None = None
    history: tuple[HistoryPoint, ...] = ()
