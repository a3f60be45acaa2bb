"""A mesh whose number of replicas changes: asked by the command, under load at a rate."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from bench.paced import Load, Record, load_on
from headrace.cli.scale import pool_document
from headrace.runtime.channels import open_channel
from headrace.scaling.client import ScalingClient
from tests.support.mesh import Mesh, MeshOptions, headrace
from tests.support.requests import slow

COMMAND_S = 120.0
STEPS, MANY_STEPS = 8, 100
"""A batch takes about 3 ms of a core, or 40 ms: of the crowd's calls several wait for each."""

QUICK = """\
scaling:
  max: 3
  cooldown_s: 3
  interval_s: 0.5
  window_s: 2
  stale_s: 2
  up: {cpu: 1, memory: 1, response_s: 0.05, queue: 3}
  down: {cpu: 0.5, memory: 0.999, response_s: 0.02, queue: 1}
"""
"""The policy with its time compressed, and thresholds that a test reaches and leaves on a machine that others use too."""

AUTO = MeshOptions(scaling=QUICK)


def scale(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    """What `headrace scale … --json` prints."""
    text = headrace("scale", *arguments, "--json", "--state-dir", mesh.state_dir, timeout_s=COMMAND_S)
    document: dict[str, Any] = json.loads(text)
    return document


async def scaled(mesh: Mesh, *arguments: str) -> dict[str, Any]:
    """The same, beside a load."""
    return await asyncio.to_thread(scale, mesh, *arguments)


async def pool_that(mesh: Mesh, holds: Callable[[dict[str, Any]], bool], within_s: float) -> dict[str, Any]:
    """The pool, as `headrace scale status` prints it, as soon as it is so."""
    end = time.monotonic() + within_s
    async with open_channel(f"unix:{mesh.state_dir}/run/scaling.grpc.sock") as channel:
        while True:
            (found,) = await ScalingClient(channel, deadline_s=within_s).pools()
            pool: dict[str, Any] = pool_document(found)
            if holds(pool):
                return pool
            assert time.monotonic() < end, f"not within {within_s} s: {pool}"
            await asyncio.sleep(0.1)


def messages(steps: int) -> Iterator[bytes]:
    """Calls of `slow`, each of another row."""
    return (slow(steps, float(number % 1000)).SerializeToString() for number in count())


@asynccontextmanager
async def under_load(
    mesh: Mesh, share: float, *, callers: int = 8, seconds: float = 3.0
) -> AsyncIterator[Record]:
    """Load at a share of what the mesh answers to `callers`, measured first; its calls so far, all of them at the end."""
    async with load_on(mesh.gateway, mesh.demo_token, messages(STEPS)) as load:
        rate = share * await load.in_turns(callers, seconds)
        load.record.calls.clear()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.at_rate(rate, over))
            try:
                yield load.record
            finally:
                over.set()


@asynccontextmanager
async def crowd(mesh: Mesh, callers: int) -> AsyncIterator[Load]:
    """So many callers who ask one after the other, for as long as the block lasts."""
    async with (
        load_on(mesh.gateway, mesh.demo_token, messages(MANY_STEPS)) as load,
        asyncio.TaskGroup() as tasks,
    ):
        asking = tasks.create_task(load.in_turns(callers, 600.0))
        try:
            yield load
        finally:
            asking.cancel()
