"""`headrace limits` and `headrace breakers`: what guard allows now, and which models it leaves alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from headrace.cli.mesh import address_of, channel, state_of, token
from headrace.cli.output import Output
from headrace.guard.client import GuardClient, KnownBreaker, LimitsInUse
from headrace.local.statedir import StateDir
from headrace.runtime.channels import bearer

SWITCH = "limits.enabled"
DEFAULT = "(every other)"


@asynccontextmanager
async def guard(state: StateDir) -> AsyncIterator[GuardClient]:
    """The guard of a mesh, asked as its operator; raises CliError when it can't be reached."""
    async with channel(address_of(state, "guard", SWITCH)) as opened:
        yield GuardClient(opened, bearer(token(state.operator_token)))


def limits(state_dir: Path, output: Output) -> None:
    """Each tenant's limits and what is left of them; the defaults first."""
    show_limits(asyncio.run(_limits(state_dir)), output)


def breakers(state_dir: Path, output: Output) -> None:
    """The circuit breaker of each model that failed of late; all others are closed."""
    show_breakers(asyncio.run(_breakers(state_dir)), output)


def show_limits(found: Sequence[LimitsInUse], output: Output) -> None:
    """Prints limits as they were told."""
    output.document({"limits": [_limit(entry) for entry in found]})
    output.table(
        ["tenant", "rate", "burst", "concurrency", "wait", "available", "in use", "replicas"],
        [_limit_cells(entry) for entry in found],
    )


def show_breakers(found: Sequence[KnownBreaker], output: Output) -> None:
    """Prints breakers as they were told."""
    output.document({"breakers": [_breaker(entry) for entry in found]})
    if not found:
        output.text("no model failed of late: every breaker is closed")
        return
    output.table(
        ["model", "state", "failures", "probe in"],
        [
            [entry.model, entry.state.name.lower(), str(entry.failures), f"{entry.wait_s:.1f} s"]
            for entry in found
        ],
    )


async def _limits(state_dir: Path) -> list[LimitsInUse]:
    async with guard(state_of(state_dir)) as client:
        return await client.limits()


async def _breakers(state_dir: Path) -> list[KnownBreaker]:
    async with guard(state_of(state_dir)) as client:
        return await client.breakers()


def _limit(entry: LimitsInUse) -> dict[str, object]:
    """`tenant` is null in the entry of the defaults."""
    return {
        "tenant": entry.tenant or None,
        "rate": entry.limits.rate,
        "burst": entry.limits.burst,
        "concurrency": entry.limits.concurrency,
        "wait_ms": round(entry.limits.wait_s * 1000),
        "available": entry.available,
        "slots_leased": entry.slots_leased,
        "holders": entry.holders,
    }


def _limit_cells(entry: LimitsInUse) -> list[str]:
    used = [str(entry.available), str(entry.slots_leased), str(entry.holders)]
    return [
        entry.tenant or DEFAULT,
        f"{entry.limits.rate:g}",
        str(entry.limits.burst),
        str(entry.limits.concurrency),
        f"{entry.limits.wait_s * 1000:.0f} ms",
        *(used if entry.tenant else ["-", "-", "-"]),
    ]


def _breaker(entry: KnownBreaker) -> dict[str, object]:
    return {
        "model": entry.model,
        "state": entry.state.name.lower(),
        "failures": entry.failures,
        "retry_after_s": round(entry.wait_s, 3),
    }
