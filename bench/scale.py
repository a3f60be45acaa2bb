"""Replicas come and go under load: what the callers notice of it.

80 % of what one replica answers to sixteen callers; three replicas, then
one again; p99 while they come and go over p99 of the steady load before.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

from bench.calls import check_linear, check_minilm
from bench.counts import RunVoid
from bench.figures import Figure
from bench.frames import linear_request, minilm_request, texts
from bench.mesh import Mesh
from bench.paced import Load, load_on
from headrace.runtime.channels import open_channel
from headrace.scaling.client import ScalingClient

TOKENS = 32
SHARE = 0.8
CALLERS = 16
STEADY_S = 8.0
COMMAND_S = 120.0
POLL_S = 0.2


def scale(mesh: Mesh) -> list[Figure]:
    """For each model the ratio of the p99s, and how many calls failed."""
    drawn = texts(mesh.model_file("minilm-tokenizer", "tokenizer.json"), repeat(TOKENS), seed=11)
    check_minilm(mesh, next(drawn))
    check_linear(mesh)
    row = linear_request().SerializeToString()
    return [
        *asyncio.run(_measured(mesh, "linear", repeat(row))),
        *asyncio.run(_measured(mesh, "minilm", (minilm_request(text).SerializeToString() for text in drawn))),
    ]


async def _measured(mesh: Mesh, model: str, messages: Iterator[bytes]) -> list[Figure]:
    gateway = f"127.0.0.1:{mesh.target.port}"
    async with load_on(gateway, mesh.target.token, messages) as load:
        peak = await load.in_turns(CALLERS, STEADY_S)
        rate, over = SHARE * peak, asyncio.Event()
        load.record.calls.clear()
        sending = asyncio.create_task(load.at_rate(rate, over))
        marks = await _changes(mesh.state_dir)
        over.set()
        await sending
    return _figures(model, load, rate, marks)


async def _changes(state_dir: Path) -> tuple[float, float, float, float]:
    """The times between which the load was steady, replicas came, and replicas went."""
    begun = time.monotonic()
    await asyncio.sleep(STEADY_S)
    steady = time.monotonic()
    await _set(state_dir, 3)
    came = time.monotonic()
    await asyncio.sleep(2.0)
    await _set(state_dir, 1)
    return begun, steady, came, time.monotonic()


async def _set(state_dir: Path, replicas: int) -> None:
    """As `headrace scale set` does, without a process that takes of the same cores."""
    async with open_channel(f"unix:{state_dir}/run/scaling.grpc.sock") as channel:
        client = ScalingClient(channel)
        await client.set_replicas(replicas)
        async with asyncio.timeout(COMMAND_S):
            while True:
                (pool,) = await client.pools()
                if pool.current == replicas and not pool.changing:
                    return
                if pool.problem:
                    raise RunVoid(f"{pool.current} replicas, not {replicas}: {pool.problem}")
                await asyncio.sleep(POLL_S)


def _figures(model: str, load: Load, rate: float, marks: tuple[float, float, float, float]) -> list[Figure]:
    begun, steady, came, gone = marks
    record = load.record
    before, rising, falling = (
        record.p99_ms(begun, steady),
        record.p99_ms(steady, came),
        record.p99_ms(came, gone),
    )
    told = (
        f"1 to 3 in {came - steady:.1f} s: {rising:.0f} ms; 3 to 1 in {gone - came:.1f} s: {falling:.0f} ms"
    )
    failures = ", ".join(f"{code} {count}" for code, count in record.failures.items())
    return [
        Figure(
            f"`{model}`, p99 while replicas come and go, over steady",
            told,
            f"{before:.0f} ms at {rate:.0f}/s",
            value=record.p99_ms(steady, gone) / before,
            must=2.0,
            lower_is_better=True,
        ),
        Figure(
            f"`{model}`, failed calls while replicas come and go",
            failures or f"none of {len(record.calls)}",
            value=float(sum(record.failures.values())),
            unit="",
            must=0.0,
            lower_is_better=True,
        ),
    ]
