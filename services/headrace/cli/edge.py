"""`headrace cost --edge`: what the gateway saw, beside what the ledger has."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from headrace.cli.cost import date, dimensions_of, seconds_of
from headrace.cli.mesh import address_of, channel, state_of, token
from headrace.cli.output import Output
from headrace.metering.client import EdgeComparison, EdgeCount, EdgeReport, MeteringClient
from headrace.runtime.channels import bearer

FIGURES = (
    "matched",
    "bytes_differ",
    "edge_bytes",
    "ledger_bytes",
    "edge_only",
    "ledger_only",
    "ledger_events",
)


def edge(by: str, since: str | None, state_dir: Path, output: Output) -> None:
    """What the gateway saw in the last `since` (all time for None), told apart by tenant, model or both."""
    dimensions = dimensions_of(by)
    start = None if since is None else int(time.time()) - seconds_of(since)
    report = asyncio.run(_report(state_dir, dimensions, start))
    output.document(document(report))
    named = "tenant" in dimensions
    output.table(
        [*(["tenant"] if named else []), "outcome", "requests", "received", "sent"],
        [_count_cells(count, named=named) for count in report.counts],
    )
    output.text()
    output.table(
        [*dimensions, *(figure.replace("_", " ") for figure in FIGURES)],
        [_cells(row, dimensions) for row in report.comparisons],
    )
    if report.waiting:
        output.text(f"{report.waiting} request(s) and events of late are still to be compared")


async def _report(state_dir: Path, dimensions: Sequence[str], start: int | None) -> EdgeReport:
    state = state_of(state_dir)
    async with channel(address_of(state, "metering", "metering.enabled")) as opened:
        client = MeteringClient(opened, bearer(token(state.operator_token)))
        return await client.edge(start, by_tenant="tenant" in dimensions, by_model="model" in dimensions)


def document(report: EdgeReport) -> dict[str, object]:
    """What `cost --edge --json` prints; `tenant` and `model` are null where there is none or rows are not told apart by it."""
    return {
        "since": date(report.since_s),
        "until": date(report.until_s),
        "requests": [
            {
                "tenant": count.tenant or None,
                "outcome": outcome(count),
                "requests": count.requests,
                "received_bytes": count.received_bytes,
                "sent_bytes": count.sent_bytes,
            }
            for count in report.counts
        ],
        "comparisons": [
            {
                "tenant": row.tenant or None,
                "model": row.model or None,
                **{figure: getattr(row, figure) for figure in FIGURES},
            }
            for row in report.comparisons
        ],
        "waiting": report.waiting,
    }


def outcome(count: EdgeCount) -> str:
    """As metrics have it too."""
    return count.outcome.name.lower()


def _count_cells(count: EdgeCount, *, named: bool) -> list[str]:
    amounts = (count.requests, count.received_bytes, count.sent_bytes)
    return [*([count.tenant or "-"] if named else []), outcome(count), *map(str, amounts)]


def _cells(row: EdgeComparison, dimensions: Sequence[str]) -> list[str]:
    names = {"tenant": row.tenant, "model": row.model}
    return [
        *(names[dimension] or "-" for dimension in dimensions),
        *(str(getattr(row, figure)) for figure in FIGURES),
    ]
