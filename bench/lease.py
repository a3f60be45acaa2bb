"""How long a replica takes to check a request's limits in its own process: `admit` and `release`.

With a real guard beside it and its leases renewed meanwhile. Requests that had
to ask the guard are timed too: they are in the p99, if they are that many.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from bench.counts import RunVoid
from bench.figures import Figure, spread
from bench.measure import Effort
from headrace.guard.client import LeaseHolder, Outcome, holding_leases
from headrace.runtime.clock import SystemClock
from headrace.runtime.telemetry import quiet

# High enough never to refuse; checked all the same.
LIMITS = '{"rate": 1e6, "burst": 1000000, "concurrency": 1000}'
TENANT, MODEL = "bench", "linear"
AT_ONCE = 100
"""Requests between two turns of the event loop, which renews the leases."""
START_S = 30.0


def check(folder: Path, effort: Effort) -> Figure:
    """The figure: p50 of one request's check in microseconds."""
    folder.mkdir()
    with _guard(folder) as target:
        p50s, p99s, asked = asyncio.run(_rounds(target, effort))
    return Figure(
        "lease check in process, p50",
        f"{median(p50s):.2f} us (p99 {spread(p99s)}), {asked} requests asked the guard",
        value=median(p50s),
        unit="us",
        must=10.0,
        lower_is_better=True,
    )


async def _rounds(target: str, effort: Effort) -> tuple[list[float], list[float], int]:
    p50s, p99s, asked = [], [], 0
    async with holding_leases(target, "bench", "1", SystemClock(), quiet()[0]) as holder:
        end = time.monotonic() + START_S
        while holder.alone:
            if time.monotonic() > end:
                raise RunVoid("the guard did not answer")
            await asyncio.sleep(0.05)
        for _ in range(effort.rounds):
            times: list[float] = []
            end = time.monotonic() + effort.run_s
            while time.monotonic() < end:
                asked += await _requests(holder, times)
            cuts = quantiles(times, n=100)
            p50s.append(cuts[49])
            p99s.append(cuts[98])
        if holder.alone:
            raise RunVoid("the guard was lost")
    return p50s, p99s, asked


async def _requests(holder: LeaseHolder, times: list[float]) -> int:
    """Times so many requests in microseconds each; how many had to ask."""
    asked = 0
    clock = time.perf_counter_ns
    for _ in range(AT_ONCE):
        start = clock()
        permit = holder.admit(TENANT, MODEL)
        if permit is None:
            asked += 1
            permit = await holder.ask(TENANT, MODEL, None)
        holder.release(permit, Outcome.SUCCESS, 0.001)
        times.append((clock() - start) / 1000)
    await asyncio.sleep(0)
    return asked


@contextmanager
def _guard(folder: Path) -> Iterator[str]:
    """A guard process of its own, ended on leaving; its Unix socket."""
    socket = folder / "g.sock"
    settings = {
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "SOCKET": str(socket),
        "STORE": str(folder / "store"),
        "LIMITS": LIMITS,
    }
    environment = {**os.environ, **{f"HEADRACE_GUARD_{key}": value for key, value in settings.items()}}
    command = [sys.executable, "-m", "headrace.guard"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + START_S
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RunVoid("guard did not start")
                time.sleep(0.05)
            yield f"unix:{socket}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
