"""The figures as one JSON document: what `headrace top --json` prints and the web page reads.

Fields may be added, never renamed. null is what is not known. Times are
seconds, money is whole nano-units. Part of what neighbours may import.
"""

from collections.abc import Mapping

from headrace.insight.figures import (
    Estimate,
    GatewayFigures,
    HistoryPoint,
    LimitFigures,
    ModelFigures,
    Overview,
    Quantiles,
)

Document = dict[str, object]


def overview_document(overview: Overview) -> Document:
    """The figures; `history` is there when it was asked for."""
    document: Document = {
        "time_ns": overview.time_ns,
        "rate_window_s": overview.rate_window_s,
        "quantile_window_s": overview.quantile_window_s,
        "processes": [
            {"name": p.name, "service": p.service, "health": p.health.name.lower(), "age_s": p.age_s}
            for p in overview.processes
        ],
        "gateway": _gateway(overview.gateway),
        "codes": dict(overview.codes),
        "models": [_model(model) for model in overview.models],
        "cache": [
            {"level": one.level, "lookups_per_s": one.lookups_per_s, "hit_rate": one.hit_rate}
            for one in overview.cache_levels
        ],
        "limits": _limits(overview.limits),
        "breakers": None
        if overview.breakers is None
        else [{"model": model, "state": state} for model, state in overview.breakers],
        "cost": None
        if overview.cost is None
        else [{"currency": name, "nanos_per_minute": nanos} for name, nanos in overview.cost],
    }
    if overview.history:
        document["history"] = [_point(point) for point in overview.history]
    return document


def _gateway(gateway: GatewayFigures | None) -> Document | None:
    if gateway is None:
        return None
    return {
        "requests_per_s": gateway.requests_per_s,
        "refused_per_s": gateway.refused_per_s,
        "failed_per_s": gateway.failed_per_s,
        "active_requests": gateway.active_requests,
        "connections": gateway.connections,
        "latency_s": _quantiles(gateway.latency),
    }


def _model(model: ModelFigures) -> Document:
    return {
        "model": model.model,
        "requests_per_s": model.requests_per_s,
        "failed_per_s": model.failed_per_s,
        "latency_s": _quantiles(model.latency),
        "queue_s": _quantiles(model.queue),
        "compute_s": _quantiles(model.compute),
        "batch_rows": model.batch_rows,
    }


def _limits(limits: LimitFigures | None) -> Document | None:
    if limits is None:
        return None
    return {
        "admitted_per_s": limits.admitted_per_s,
        "refused_per_s": limits.refused_per_s,
        "alone": limits.alone,
    }


def _point(point: HistoryPoint) -> Document:
    return {
        "time_ns": point.time_ns,
        "requests_per_s": point.requests_per_s,
        "failed_per_s": point.failed_per_s,
        "p95_s": None if point.p95 is None else point.p95.seconds,
    }


def _quantiles(quantiles: Quantiles) -> Mapping[str, object]:
    return {
        "p50": _estimate(quantiles.p50),
        "p95": _estimate(quantiles.p95),
        "p99": _estimate(quantiles.p99),
    }


def _estimate(estimate: Estimate | None) -> Document | None:
    """`at_least`: all that is known is that it is no less."""
    return None if estimate is None else {"seconds": estimate.seconds, "at_least": estimate.at_least}
