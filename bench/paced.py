"""Load at a rate, not in turns: each call begins at its time, however long those before it take.

What a call waits is counted from the time at which it was due, so that a mesh
that stands still for a second is seen to (no coordinated omission). Every
grpc-status is kept.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import grpc
import numpy as np

from bench.target import MODEL_INFER

TIMEOUT_S = 30.0
OPTIONS = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
CONNECTIONS = 4

Call = Callable[[bytes], Awaitable[bytes]]


class Seen(NamedTuple):
    """One call: when it was due and when it ended (monotonic), and its status."""

    due: float
    ended: float
    code: str


@dataclass
class Record:
    """Every call that has ended."""

    calls: list[Seen] = field(default_factory=list)

    @property
    def failures(self) -> Counter[str]:
        """Those that were not answered, by their status."""
        return Counter(call.code for call in self.calls if call.code != "OK")

    def p99_ms(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The 99th percentile of the calls that were due between two times."""
        took = [call.ended - call.due for call in self.calls if since <= call.due < until]
        return float(np.percentile(took, 99)) * 1000.0

    def per_s(self, since: float, until: float) -> float:
        """Answers a second between two times."""
        return sum(since <= call.ended < until for call in self.calls) / (until - since)


class Load:
    """Sends `messages` (serialised ModelInferRequests) to a gateway with a real gRPC client."""

    def __init__(self, calls: list[Call], messages: Iterator[bytes], token: str) -> None:
        self._calls = calls
        self._messages = messages
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.record = Record()

    async def in_turns(self, callers: int, seconds: float) -> float:
        """Answers a second with so many callers, each of whom waits for its answer."""
        begun = time.monotonic()
        until = begun + seconds

        async def caller(number: int) -> None:
            while (now := time.monotonic()) < until:
                await self._call(number, now)

        await asyncio.gather(*map(caller, range(callers)))
        return self.record.per_s(begun, until)

    async def at_rate(self, per_s: float, until: asyncio.Event) -> None:
        """Calls at a rate, until the event; returns when all are answered."""
        async with asyncio.TaskGroup() as tasks:
            begun, sent = time.monotonic(), 0
            while not until.is_set():
                due = begun + sent / per_s
                wait_s = due - time.monotonic()
                if wait_s > 0.0:
                    await asyncio.sleep(wait_s)
                tasks.create_task(self._call(sent, due))
                sent += 1

    async def _call(self, number: int, due: float) -> None:
        code = "OK"
        try:
            call = self._calls[number % len(self._calls)]
            await call(next(self._messages), timeout=TIMEOUT_S, metadata=self._metadata)  # type: ignore[call-arg]
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        self.record.calls.append(Seen(due, time.monotonic(), code))


@asynccontextmanager
async def load_on(gateway: str, token: str, messages: Iterator[bytes]) -> AsyncIterator[Load]:
    """A load on connections of its own."""
    channels = [grpc.aio.insecure_channel(gateway, options=OPTIONS) for _ in range(CONNECTIONS)]
    calls = [channel.unary_unary(MODEL_INFER, None, None) for channel in channels]
    try:
        yield Load(calls, messages, token)  # type: ignore[arg-type]  # grpc's stubs know no serialiser that is None
    finally:
        for channel in channels:
            await channel.close(None)
