"""The figures as messages of the contract, and back. Part of what `client.py` is made of."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.insight.figures import (
    CacheLevelFigures,
    Estimate,
    GatewayFigures,
    Health,
    HistoryPoint,
    LimitFigures,
    ModelFigures,
    Overview,
    ProcessFigures,
    Quantiles,
)
from headrace.insight.v1 import overview_pb2 as pb


def overview_message(overview: Overview) -> pb.Overview:
    """As it is told."""
    message = pb.Overview(
        time=_timestamp(overview.time_ns),
        rate_window=_duration(overview.rate_window_s),
        quantile_window=_duration(overview.quantile_window_s),
        processes=map(_process_message, overview.processes),
        codes=[pb.CodeRate(code=code, per_s=rate) for code, rate in overview.codes],
        models=map(_model_message, overview.models),
        cache_levels=[
            pb.CacheLevelFigures(level=one.level, lookups_per_s=one.lookups_per_s, hit_rate=one.hit_rate)
            for one in overview.cache_levels
        ],
        history=map(_point_message, overview.history),
    )
    if (gateway := overview.gateway) is not None:
        message.gateway.CopyFrom(_gateway_message(gateway))
    if (limits := overview.limits) is not None:
        message.limits.CopyFrom(
            pb.LimitFigures(
                admitted_per_s=limits.admitted_per_s, refused_per_s=limits.refused_per_s, alone=limits.alone
            )
        )
    if overview.breakers is not None:
        rows = [pb.BreakerFigure(model=model, state=state) for model, state in overview.breakers]
        message.breakers.CopyFrom(pb.BreakerFigures(breakers=rows))
    if overview.cost is not None:
        costs = [pb.CurrencyCost(currency=name, nanos_per_minute=nanos) for name, nanos in overview.cost]
        message.cost.CopyFrom(pb.CostFigures(currencies=costs))
    return message


def overview_of(message: pb.Overview) -> Overview:
    """What a message tells."""
    has = message.HasField
    return Overview(
        time_ns=_nanoseconds(message.time),
        rate_window_s=_seconds(message.rate_window),
        quantile_window_s=_seconds(message.quantile_window),
        processes=tuple(map(_process, message.processes)),
        gateway=_gateway(message.gateway) if has("gateway") else None,
        codes=tuple((code.code, code.per_s) for code in message.codes),
        models=tuple(map(_model, message.models)),
        cache_levels=tuple(
            CacheLevelFigures(one.level, _given(one, "lookups_per_s"), _given(one, "hit_rate"))
            for one in message.cache_levels
        ),
        limits=_limits(message.limits) if has("limits") else None,
        breakers=tuple((b.model, b.state) for b in message.breakers.breakers) if has("breakers") else None,
        cost=tuple((c.currency, c.nanos_per_minute) for c in message.cost.currencies)
        if has("cost")
        else None,
        history=tuple(map(_point, message.history)),
    )


def _process_message(process: ProcessFigures) -> pb.ProcessFigures:
    return pb.ProcessFigures(
        name=process.name,
        service=process.service,
        health=pb.ProcessHealth.ValueType(process.health.value),
        age=None if process.age_s is None else _duration(process.age_s),
    )


def _process(message: pb.ProcessFigures) -> ProcessFigures:
    age = _seconds(message.age) if message.HasField("age") else None
    return ProcessFigures(message.name, message.service, Health(message.health), age)


def _gateway_message(gateway: GatewayFigures) -> pb.GatewayFigures:
    return pb.GatewayFigures(
        requests_per_s=gateway.requests_per_s,
        refused_per_s=gateway.refused_per_s,
        failed_per_s=gateway.failed_per_s,
        active_requests=gateway.active_requests,
        connections=gateway.connections,
        latency=_quantiles_message(gateway.latency),
    )


def _gateway(message: pb.GatewayFigures) -> GatewayFigures:
    return GatewayFigures(
        requests_per_s=_given(message, "requests_per_s"),
        refused_per_s=_given(message, "refused_per_s"),
        failed_per_s=_given(message, "failed_per_s"),
        active_requests=message.active_requests,
        connections=message.connections,
        latency=_quantiles(message.latency),
    )


def _model_message(model: ModelFigures) -> pb.ModelFigures:
    return pb.ModelFigures(
        model=model.model,
        requests_per_s=model.requests_per_s,
        failed_per_s=model.failed_per_s,
        latency=_quantiles_message(model.latency),
        queue=_quantiles_message(model.queue),
        compute=_quantiles_message(model.compute),
        batch_rows=model.batch_rows,
    )


def _model(message: pb.ModelFigures) -> ModelFigures:
    return ModelFigures(
        model=message.model,
        requests_per_s=_given(message, "requests_per_s"),
        failed_per_s=_given(message, "failed_per_s"),
        latency=_quantiles(message.latency),
        queue=_quantiles(message.queue),
        compute=_quantiles(message.compute),
        batch_rows=_given(message, "batch_rows"),
    )


def _limits(message: pb.LimitFigures) -> LimitFigures:
    return LimitFigures(_given(message, "admitted_per_s"), _given(message, "refused_per_s"), message.alone)


def _point_message(point: HistoryPoint) -> pb.HistoryPoint:
    return pb.HistoryPoint(
        time=_timestamp(point.time_ns),
        requests_per_s=point.requests_per_s,
        failed_per_s=point.failed_per_s,
        p95=None if point.p95 is None else _duration(point.p95.seconds),
    )


def _point(message: pb.HistoryPoint) -> HistoryPoint:
    return HistoryPoint(
        _nanoseconds(message.time),
        _given(message, "requests_per_s"),
        _given(message, "failed_per_s"),
        Estimate(_seconds(message.p95)) if message.HasField("p95") else None,
    )


def _quantiles_message(quantiles: Quantiles) -> pb.Quantiles:
    return pb.Quantiles(
        p50=_estimate_message(quantiles.p50),
        p95=_estimate_message(quantiles.p95),
        p99=_estimate_message(quantiles.p99),
    )


def _estimate_message(estimate: Estimate | None) -> pb.Estimate | None:
    if estimate is None:
        return None
    return pb.Estimate(value=_duration(estimate.seconds), at_least=estimate.at_least)


def _quantiles(message: pb.Quantiles) -> Quantiles:
    return Quantiles(_estimate(message, "p50"), _estimate(message, "p95"), _estimate(message, "p99"))


def _estimate(message: pb.Quantiles, name: str) -> Estimate | None:
    if not message.HasField(name):  # type: ignore[arg-type]  # the stub lists the names one by one
        return None
    found: pb.Estimate = getattr(message, name)
    return Estimate(_seconds(found.value), found.at_least)


def _given(
    message: pb.GatewayFigures | pb.ModelFigures | pb.CacheLevelFigures | pb.LimitFigures | pb.HistoryPoint,
    name: str,
) -> float | None:
    return float(getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type]  # as above


def _timestamp(ns: int) -> Timestamp:
    return Timestamp(seconds=ns // 10**9, nanos=ns % 10**9)


def _duration(seconds: float) -> Duration:
    ns = round(seconds * 1e9)
    return Duration(seconds=ns // 10**9, nanos=ns % 10**9)


def _nanoseconds(message: Timestamp) -> int:
    return message.seconds * 10**9 + message.nanos


def _seconds(message: Duration) -> float:
    return message.seconds + message.nanos * 1e-9
