"""The figures of a mesh as tables for a terminal. What is not known is a dash, never a zero."""

from collections.abc import Iterable, Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headrace.cli.output import money
from headrace.insight.client import Estimate, Health, ModelFigures, Overview, ProcessFigures

UNKNOWN = "-"
_HEALTH = {Health.UP: "green", Health.STALE: "yellow", Health.DOWN: "red", Health.UNKNOWN: "dim"}
_BREAKER = {"open": "red", "half_open": "yellow", "closed": "green"}


def board(overview: Overview) -> RenderableType:
    """Everything, top to bottom: who answers, the edge, the models, what stands before and behind them."""
    return Group(
        _processes(overview.processes),
        Text(),
        _edge(overview),
        Text(),
        _models(overview.models),
        Text(),
        Columns(
            [Padding(table, (0, 2, 0, 0)) for table in (_cache(overview), _limits(overview), _cost(overview))]
        ),
        Text(
            f"rates of {overview.rate_window_s:.0f} s, the rest of {overview.quantile_window_s:.0f} s; "
            "queue and compute are p95",
            style="dim",
        ),
    )


def _processes(processes: Iterable[ProcessFigures]) -> Text:
    line = Text()
    for process in processes:
        age = "" if process.health is Health.UP else f" {_age(process.age_s)}"
        line.append(f"● {process.name}", style=_HEALTH[process.health])
        line.append(f" {process.health.name.lower()}{age}  " if process.health is not Health.UP else "  ")
    return line


def _edge(overview: Overview) -> RenderableType:
    gateway = overview.gateway
    if gateway is None:
        return Text("gateway: not known", style="dim")
    latency = gateway.latency
    table = _table("gateway", "req/s", "4xx/s", "5xx/s", "active", "conns", "p50", "p95", "p99")
    table.add_row(
        "HTTP",
        rate(gateway.requests_per_s),
        rate(gateway.refused_per_s),
        rate(gateway.failed_per_s),
        str(gateway.active_requests),
        str(gateway.connections),
        *map(time, (latency.p50, latency.p95, latency.p99)),
    )
    codes = "  ".join(f"{code} {rate(per_s)}/s" for code, per_s in overview.codes)
    return Group(table, Text(f"replicas  {codes}", style="dim")) if codes else table


def _models(models: Sequence[ModelFigures]) -> RenderableType:
    if not models:
        return Text("models: not known, no replica answers", style="dim")
    table = _table("model", "req/s", "failed/s", "p50", "p95", "p99", "queue", "compute", "batch")
    for model in models:
        latency = model.latency
        table.add_row(
            _plain(model.model),
            rate(model.requests_per_s),
            rate(model.failed_per_s),
            *map(time, (latency.p50, latency.p95, latency.p99, model.queue.p95, model.compute.p95)),
            UNKNOWN if model.batch_rows is None else f"{model.batch_rows:.1f}",
        )
    return table


def _cache(overview: Overview) -> Table:
    table = _table("cache", "look-ups/s", "hits")
    for level in overview.cache_levels:
        share = UNKNOWN if level.hit_rate is None else f"{level.hit_rate:.1%}"
        table.add_row(_plain(level.level), rate(level.lookups_per_s), share)
    return table


def _limits(overview: Overview) -> Table:
    table = _table("limits and breakers", "")
    limits = overview.limits
    table.add_row("admitted/s", rate(limits.admitted_per_s if limits else None))
    table.add_row("refused/s", rate(limits.refused_per_s if limits else None))
    if limits and limits.alone:
        table.add_row(Text("replicas without guard", style="yellow"), str(limits.alone))
    if overview.breakers is None:
        table.add_row("breakers", UNKNOWN)
    elif not overview.breakers:
        table.add_row("breakers", "all closed")
    for model, state in overview.breakers or ():
        table.add_row(
            _plain(f"breaker of {model}"), Text(state.replace("_", " "), style=_BREAKER.get(state, ""))
        )
    return table


def _cost(overview: Overview) -> Table:
    table = _table("cost per minute", "")
    if overview.cost is None:
        table.add_row("", UNKNOWN)
    elif not overview.cost:
        table.add_row("nothing booked yet", "")
    for currency, nanos in overview.cost or ():
        table.add_row(_plain(currency), money(nanos))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(columns[0], no_wrap=True, min_width=10)
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def rate(per_s: float | None) -> str:
    """Events a second, to three digits or so."""
    if per_s is None:
        return UNKNOWN
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.1f}"


def time(estimate: Estimate | None) -> str:
    """A quantile with a unit that suits it; "≥" where its bucket has no end."""
    if estimate is None:
        return UNKNOWN
    value, unit = (estimate.seconds, "s") if estimate.seconds >= 1 else (estimate.seconds * 1000, "ms")
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{'≥' if estimate.at_least else ''}{value:.{digits}f}{unit}"


def _plain(name: str) -> Text:
    """A name as text: no markup, and nothing that a terminal would obey."""
    return Text("".join(character if character.isprintable() else "�" for character in name))


def _age(age_s: float | None) -> str:
    return "never read" if age_s is None else f"for {age_s:.0f} s"
