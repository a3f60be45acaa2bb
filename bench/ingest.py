"""How many usage events a second the ledger takes, through its own RPC and onto the disk.

Two sources stream batches as replicas send them, each after the one before was
committed; every event has a billing key of its own, as every request has. What
is counted is what was acknowledged, and the ledger must add up afterwards.
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
from statistics import median
from typing import Any

import grpc
import numpy as np

from bench.counts import RunVoid
from bench.figures import Figure, spread
from bench.measure import Effort
from headrace.metering.core.rows import FORMAT, KEY_BYTES
from headrace.metering.reader import LedgerReader
from headrace.metering.v1.metering_service_pb2 import RecordRequest
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from headrace.metering.wire import batch_message
from headrace.runtime.channels import open_channel

SOURCES = 2
BATCH_EVENTS = 1024
WARM_BATCHES = 8
START_S = 30.0
NAMES = [(tenant, model, "1") for tenant in ("acme", "umbrella") for model in ("linear", "minilm")]
NOW_MS = 1_800_000_000_000


def ingest(folder: Path, effort: Effort) -> Figure:
    """The figure; raises `RunVoid` when the ledger does not add up."""
    folder.mkdir()
    with _metering(folder) as target:
        rates, sent = asyncio.run(_rates(target, effort))
    reader = LedgerReader(folder / "ledger.sqlite3")
    audit = reader.audit()
    reader.close()
    if not audit.sound or audit.events != sent:
        raise RunVoid(f"the ledger holds {audit.events} of {sent} events: {audit}")
    return Figure("ledger ingest", f"{spread(rates)}/s", value=median(rates), unit="events/s", must=20_000.0)


async def _rates(target: str, effort: Effort) -> tuple[list[float], int]:
    """Events a second of each run, and how many events were sent in all."""
    async with open_channel(target) as channel:
        await channel.channel_ready()
        streams = [_Stream(channel, f"replica-{n}") for n in range(SOURCES)]
        for stream in streams:
            await stream.begin()
            await stream.send(count=WARM_BATCHES)
        rates = []
        for _ in range(effort.rounds):
            begun, before = time.monotonic(), sum(stream.sent for stream in streams)
            await asyncio.gather(*(stream.send(until=begun + effort.run_s) for stream in streams))
            sent = sum(stream.sent for stream in streams) - before
            rates.append(sent / (time.monotonic() - begun))
        for stream in streams:
            stream.end()
        return rates, sum(stream.sent for stream in streams)


class _Stream:
    """One source's call of Record."""

    def __init__(self, channel: grpc.aio.Channel, source: str) -> None:
        self._call: Any = MeteringServiceStub(channel).Record()  # type: ignore[call-arg]  # we write
        self._source = source
        self._random = np.random.default_rng(len(source) + ord(source[-1]))
        self.sent = 0

    async def begin(self) -> None:
        await self._call.read()

    def end(self) -> None:
        self._call.cancel()

    async def send(self, *, count: int = sys.maxsize, until: float = float("inf")) -> None:
        """Sends batches until so many are sent, or the time has come."""
        while count and time.monotonic() < until:
            count -= 1
            await self._call.write(self._request())
            answer = await self._call.read()
            self.sent += BATCH_EVENTS
            if answer.acknowledged_sequence != self.sent:
                raise RunVoid(f"{self.sent} events were sent, {answer.acknowledged_sequence} acknowledged")

    def _request(self) -> RecordRequest:
        rows = np.zeros(BATCH_EVENTS, FORMAT)
        rows["name"] = self._random.integers(1, len(NAMES) + 1, BATCH_EVENTS)
        rows["kind"], rows["rows"], rows["price_version"] = 1, 1, 1
        rows["time_ms"] = NOW_MS + self.sent // 10
        rows["cpu_ns"] = self._random.integers(10_000, 1_000_000, BATCH_EVENTS)
        rows["request_bytes"] = rows["response_bytes"] = 300
        keys = self._random.bytes(BATCH_EVENTS * KEY_BYTES)
        rows["billing_key"] = np.frombuffer(keys, f"V{KEY_BYTES}")
        first = self.sent + 1
        return RecordRequest(
            source=self._source,
            incarnation="bench",
            first_sequence=first,
            oldest_sequence=first,
            batch=batch_message(rows, NAMES),
        )


@contextmanager
def _metering(folder: Path) -> Iterator[str]:
    """A metering process of its own, ended on leaving; its Unix socket."""
    socket = folder / "m.sock"
    settings = {
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "SOCKET": str(socket),
        "LEDGER": str(folder / "ledger.sqlite3"),
    }
    environment = {**os.environ, **{f"HEADRACE_METERING_{key}": value for key, value in settings.items()}}
    command = [sys.executable, "-m", "headrace.metering"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + START_S
            while not socket.exists():
                if process.poll() is not None or time.monotonic() > end:
                    raise RunVoid("metering did not start")
                time.sleep(0.05)
            yield f"unix:{socket}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
