"""Many users at once: each has a connection of its own, thinks, asks, waits for the answer, thinks again.

    python -m bench.users FRAME --port N --token-file FILE [--users 5000] [--think 2.5] [--ramp 10] [--seconds 20]

FRAME is one gRPC frame, which all of them send. They come one after another over
the ramp; what they do in it is sent and answered and not timed. A think time is
drawn from an exponential distribution with mean `--think`. A request's time
counts from the moment at which its user wanted to send it, so that a late
generator makes its own figures worse instead of better (coordinated omission).
Prints a `Crowd` as JSON.
"""

import argparse
import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from bench.wire import Connection, header_block

FEWEST = 1000
"""So many times are needed for a P99 that means something."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """What the users met. `requests` counts all that were sent, the ramp's too; times (ms) and rate leave the ramp out."""

    users: int
    requests: int
    timed: int
    per_s: float
    mean_ms: float
    median_ms: float
    p95_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float
    first_byte_p95_ms: float
    lost: int


@dataclass(slots=True)
class Times:
    """What all users measured, in seconds."""

    whole: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    sent: int = 0
    lost: int = 0


class User:
    """One user: at most one request at a time."""

    def __init__(self, block: bytes, body: bytes, think: Callable[[], float], times: Times) -> None:
        self._body, self._think, self._times = body, think, times
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._wanted = 0.0
        self._first = 0.0
        self._asking = False
        self._leaving = False
        self.timed = False
        self.gone = self._loop.create_future()
        self.connection = Connection(block, self)

    def connected(self) -> None:
        self._later()

    def began(self, stream: int) -> None:  # noqa: ARG002  # a user has one at a time
        self._first = self._first or self._loop.time()

    def ended(self, stream: int) -> None:  # noqa: ARG002  # likewise
        self._asking = False
        if self.timed:
            now = self._loop.time()
            self._times.whole.append(now - self._wanted)
            self._times.first_byte.append(self._first - self._wanted)
        if self._leaving:
            self._go()
        else:
            self._later()

    def lost(self, error: Exception) -> None:  # noqa: ARG002  # counted, whatever it was
        if not self.gone.done():
            self._times.lost += 1
            self._leave_timer()
            self.gone.set_result(None)

    def leave(self) -> None:
        """Asks nothing more; `gone` is done when the last answer is there."""
        self._leaving = True
        self._leave_timer()
        if not self._asking:
            self._go()

    def _later(self) -> None:
        self._wanted = self._loop.time() + self._think()
        self._timer = self._loop.call_at(self._wanted, self._ask)

    def _ask(self) -> None:
        # The loop's timers are a millisecond wide and may be early: nobody waited that long.
        self._wanted = min(self._wanted, self._loop.time())
        self._first, self._asking = 0.0, True
        self._times.sent += 1
        self.connection.send(self._body)

    def _go(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
            self.connection.close()

    def _leave_timer(self) -> None:
        if self._timer:
            self._timer.cancel()


async def crowd(body: bytes, block: bytes, port: int, options: argparse.Namespace) -> Crowd:
    """Brings the users, lets them ask for `seconds`, and waits for their last answers."""
    loop, times = asyncio.get_running_loop(), Times()
    draw = random.Random(options.seed)
    think = partial(draw.expovariate, 1 / options.think)
    begun, users = loop.time(), list[User]()
    for number in range(options.users):
        await asyncio.sleep(begun + options.ramp * number / options.users - loop.time())
        user = User(block, body, think, times)
        users.append(user)
        await loop.create_connection(partial(_connection, user), "127.0.0.1", port)
    for user in users:
        user.timed = True
    started = time.perf_counter()
    await asyncio.sleep(options.seconds)
    seconds, timed = time.perf_counter() - started, len(times.whole)
    for user in users:
        user.leave()
    await asyncio.gather(*(user.gone for user in users))
    return _summed(options.users, times, timed / seconds)


def _connection(user: User) -> Connection:
    return user.connection


def _summed(users: int, times: Times, per_s: float) -> Crowd:
    if len(times.whole) < FEWEST:
        raise SystemExit(f"{len(times.whole)} answers are too few for a P99: let them ask for longer")
    whole = np.array(times.whole) * 1e3
    median, p95, p99 = np.percentile(whole, [50, 95, 99])
    return Crowd(
        users,
        times.sent,
        len(whole),
        per_s,
        float(whole.mean()),
        float(median),
        float(p95),
        float(p99),
        float(whole.min()),
        float(whole.max()),
        float(np.percentile(times.first_byte, 95) * 1e3),
        times.lost,
    )


def main(arguments: list[str]) -> None:
    """Runs and prints; see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("frame", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--think", type=float, default=2.5)
    parser.add_argument("--ramp", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    block = header_block(f"127.0.0.1:{options.port}", options.token_file.read_text().strip())
    print(json.dumps(asdict(uvloop.run(crowd(options.frame.read_bytes(), block, options.port, options)))))


if __name__ == "__main__":
    main(sys.argv[1:])
