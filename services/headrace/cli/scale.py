"""`headrace scale`: how many replicas there are and should be, and why."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from headrace.cli.errors import CliError
from headrace.cli.mesh import address_of, channel, state_of, token
from headrace.cli.output import Output
from headrace.runtime.channels import bearer
from headrace.scaling.client import Entry, KnownPool, Reading, ScalingClient

EVERY_MODEL = "*"
POLL_S = 0.2
PATIENCE_S = 300.0
"""How long `set` waits for replicas: each loads its models, one after the other."""

SENTENCES = {
    "STEADY": "no rule asks for a change",
    "OVERLOADED": "two signals or more were over their thresholds",
    "IDLE": "every signal was under its threshold",
    "PINNED": "an operator set the number",
    "UNPINNED": "an operator left it to the policy",
    "AUTO_OFF": "the policy is off (scaling.auto in headrace.yaml)",
    "OUT_OF_BOUNDS": "the number was not between scaling.min and scaling.max",
    "AT_MAX": "more are asked for than scaling.max allows",
    "AT_MIN": "fewer are asked for than scaling.min allows",
    "COOLDOWN": "a change is asked for, and the last one was a moment ago",
    "CHANGING": "replicas are being started or stopped",
    "NO_DATA": "not everything is known",
}


@asynccontextmanager
async def _scaling(state_dir: Path) -> AsyncIterator[ScalingClient]:
    """The scaling of a mesh, asked as its operator; raises CliError when it can't be reached."""
    state = state_of(state_dir)
    async with channel(address_of(state, "scaling", "scaling")) as opened:
        yield ScalingClient(opened, bearer(token(state.operator_token)))


def status(state_dir: Path, output: Output) -> None:
    """Each pool: what runs, what should, and the last decision."""
    show_pools(asyncio.run(_pools(state_dir)), output)


def history(state_dir: Path, limit: int, output: Output) -> None:
    """The decisions that changed something, or were kept from it, newest first."""
    show_decisions(asyncio.run(_decisions(state_dir, limit)), output)


def pin(state_dir: Path, replicas: int, output: Output) -> None:
    """Sets the number and waits until so many serve."""
    before, after = asyncio.run(_pin(state_dir, replicas, output))
    output.document({"pools": [pool_document(after)]})
    if before.current == replicas:
        output.text(f"{replicas} serve already; pinned until `headrace scale auto`")
    else:
        output.text(f"{before.current} -> {after.current} replicas serve; pinned until `headrace scale auto`")


def auto(state_dir: Path, output: Output) -> None:
    """Leaves the number to the policy."""
    pool = asyncio.run(_auto(state_dir))
    output.document({"pools": [pool_document(pool)]})
    if pool.mode == "off":
        output.text(f"not pinned any more; {SENTENCES['AUTO_OFF']}, so {pool.desired} stay")
    else:
        output.text(f"left to the policy: {pool.desired} now, {pool.least} to {pool.most}")


def show_pools(pools: Sequence[KnownPool], output: Output) -> None:
    """Prints pools as they were told."""
    output.document({"pools": [pool_document(pool) for pool in pools]})
    output.table(
        ["pool", "current", "desired", "min", "max", "mode", "last decision"],
        [
            [
                pool.name,
                *map(str, (pool.current, pool.desired, pool.least, pool.most)),
                pool.mode,
                _why(pool.last),
            ]
            for pool in pools
        ],
    )
    for pool in pools:
        if pool.problem:
            output.text(f"the last start or stop failed: {pool.problem}")
        for reading in pool.last.decision.readings if pool.last else ():
            output.text(f"  {_told(reading)}")


def show_decisions(entries: Sequence[Entry], output: Output) -> None:
    """Prints a history as it was told."""
    output.document({"decisions": [decision_document(entry) for entry in entries]})
    if not entries:
        output.text("nothing was decided yet that changed anything")
    for entry in entries:
        made = entry.decision
        output.text(f"{_time(entry.time_ns)}  {made.before} -> {made.after}  {_why(entry)}")
        for reading in made.readings:
            output.text(f"    {_told(reading)}")


def pool_document(pool: KnownPool) -> dict[str, object]:
    """`model` is "*" where the replicas serve every model."""
    return {
        "pool": pool.name,
        "model": pool.model or EVERY_MODEL,
        "current": pool.current,
        "desired": pool.desired,
        "min": pool.least,
        "max": pool.most,
        "mode": pool.mode,
        "changing": pool.changing,
        "problem": pool.problem or None,
        "last_decision": None if pool.last is None else decision_document(pool.last),
    }


def decision_document(entry: Entry) -> dict[str, object]:
    """`number` is null for a decision that is not in the history."""
    made = entry.decision
    return {
        "number": entry.number or None,
        "time": _time(entry.time_ns),
        "action": made.action.name.lower(),
        "cause": made.cause.name.lower(),
        "reason": SENTENCES[made.cause.name],
        "before": made.before,
        "after": made.after,
        "running": made.running,
        "signals": [_reading_document(reading) for reading in made.readings],
        "stale": list(made.stale),
    }


def _reading_document(reading: Reading) -> dict[str, object]:
    threshold = reading.threshold
    return {
        "signal": reading.signal.value,
        "value": round(reading.value, 6),
        "up": threshold and threshold.up,
        "down": threshold and threshold.down,
        "over": reading.over,
        "under": reading.under,
        "for_s": round(reading.for_s, 3),
    }


def _why(last: Entry | None) -> str:
    if last is None:
        return "-"
    made = last.decision
    missing = f": {', '.join(made.stale)}" if made.stale else ""
    return f"{SENTENCES[made.cause.name]}{missing}"


def _told(reading: Reading) -> str:
    """As in `cpu 0.83 > 0.7 for 34 s, held`."""
    name, threshold = reading.signal.value, reading.threshold
    if threshold is None:
        return f"{name} {_number(reading.value)}"
    if reading.value > threshold.up:
        side, held = f"> {threshold.up:g}", reading.over
    elif reading.value < threshold.down:
        side, held = f"< {threshold.down:g}", reading.under
    else:
        return f"{name} {_number(reading.value)} between {threshold.down:g} and {threshold.up:g}"
    return f"{name} {_number(reading.value)} {side} for {reading.for_s:.0f} s{', held' if held else ''}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000.0 else f"{value:.3g}"


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).isoformat().replace("+00:00", "Z")


async def _pools(state_dir: Path) -> list[KnownPool]:
    async with _scaling(state_dir) as client:
        return await client.pools()


async def _decisions(state_dir: Path, limit: int) -> list[Entry]:
    async with _scaling(state_dir) as client:
        return await client.decisions(limit)


async def _auto(state_dir: Path) -> KnownPool:
    async with _scaling(state_dir) as client:
        return await client.set_auto()


async def _pin(state_dir: Path, replicas: int, output: Output) -> tuple[KnownPool, KnownPool]:
    async with _scaling(state_dir) as client:
        (before,) = await client.pools()
        await client.set_replicas(replicas)
        end, told = time.monotonic() + PATIENCE_S, before.current
        while True:
            (now,) = await client.pools()
            if now.current != told:
                told = now.current
                output.progress(f"{now.current} of {replicas} serve")
            if now.desired != replicas or (now.current == replicas and not now.changing):
                return before, now
            if now.problem or time.monotonic() > end:
                raise CliError(
                    f"{now.current} replicas serve, not {replicas}",
                    now.problem or f"it was not done within {PATIENCE_S:.0f} s",
                    "it is tried again until it works: see `headrace scale status` and `headrace status`",
                )
            await asyncio.sleep(POLL_S)
