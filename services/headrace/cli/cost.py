"""`headrace cost`: who pays what for which model."""

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer

from headrace.cli.mesh import address_of, channel, state_of, token
from headrace.cli.output import Output, money
from headrace.metering.client import CostReport, CostRow, MeteringClient
from headrace.runtime.channels import bearer

DIMENSIONS = ("tenant", "model")
_SINCE = re.compile(r"([0-9]{1,9})([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def cost(by: str, since: str | None, state_dir: Path, output: Output) -> None:
    """What was used in the last `since` (all time for None), told apart by tenant, model or both."""
    dimensions = dimensions_of(by)
    start = None if since is None else int(time.time()) - seconds_of(since)
    report = asyncio.run(_report(state_dir, dimensions, start))
    output.document(document(report))
    output.table(
        [
            *dimensions,
            "requests",
            "cached",
            "compute",
            "network",
            "storage",
            "api",
            f"total {report.currency}",
        ],
        [_cells(row, dimensions) for row in report.rows],
    )
    wasted = sum(row.wasted_requests for row in report.rows)
    if wasted:
        spent = money(sum(row.waste for row in report.rows))
        output.text(f"not billed: {wasted} request(s), which used {spent} {report.currency}")


def dimensions_of(by: str) -> Sequence[str]:
    """The dimensions of `--by`; raises BadParameter."""
    wanted = [part.strip() for part in by.split(",") if part.strip()]
    if not wanted or not set(wanted) <= set(DIMENSIONS):
        raise typer.BadParameter(f"{by!r} is neither tenant, model nor both", param_hint="--by")
    return [dimension for dimension in DIMENSIONS if dimension in wanted]


def seconds_of(since: str) -> int:
    """The length of `--since`; raises BadParameter."""
    found = _SINCE.fullmatch(since.strip())
    if not found:
        raise typer.BadParameter(
            f"{since!r} is no length of time, as 90s, 15m, 1h or 7d", param_hint="--since"
        )
    return int(found[1]) * _UNIT_S[found[2]]


async def _report(state_dir: Path, dimensions: Sequence[str], start: int | None) -> CostReport:
    state = state_of(state_dir)
    async with channel(address_of(state, "metering", "metering.enabled")) as opened:
        client = MeteringClient(opened, bearer(token(state.operator_token)))
        return await client.cost(start, by_tenant="tenant" in dimensions, by_model="model" in dimensions)


def document(report: CostReport) -> dict[str, object]:
    """What `cost --json` prints; amounts are integers in nano-units of the currency."""
    return {
        "currency": report.currency,
        "since": date(report.since_s),
        "until": date(report.until_s),
        "rows": [_row(row) for row in report.rows],
    }


def _row(row: CostRow) -> dict[str, object]:
    """`tenant` and `model` are null where rows are not told apart by them."""
    return {
        "tenant": row.tenant or None,
        "model": row.model or None,
        "requests": row.requests,
        "cached": row.cached,
        "total_nanos": row.cost.total,
        "compute_nanos": row.cost.compute,
        "network_nanos": row.cost.network,
        "storage_nanos": row.cost.storage,
        "api_nanos": row.cost.api,
        "wasted_requests": row.wasted_requests,
        "waste_nanos": row.waste,
    }


def _cells(row: CostRow, dimensions: Sequence[str]) -> list[str]:
    names = {"tenant": row.tenant, "model": row.model}
    parts = row.cost
    amounts = (parts.compute, parts.network, parts.storage, parts.api, parts.total)
    return [
        *(names[dimension] for dimension in dimensions),
        str(row.requests),
        str(row.cached),
        *map(money, amounts),
    ]


def date(seconds: int) -> str:
    """A time as documents have it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
