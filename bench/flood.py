"""More than can be served: requests at a fixed rate, whatever becomes of the ones before.

    python -m bench.flood FRAMES --port N --token-file FILE --rate R [--deadline-ms 1000] [--connections 32]

Sends each frame of FRAMES once, at its time. A request's time counts from when
it was due. An answer with a message is one that was served; one without is a
refusal, whose status is counted at the gateway (`counts.py`). Prints a `Flood`
as JSON.
"""

import argparse
import asyncio
import json
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from bench.streams import grpc_frames
from bench.wire import Connection, header_block

STREAMS = 100
"""What the gateway takes on one connection."""


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of it. Times in milliseconds; `seconds` from the first request due to the last answer."""

    requests: int
    seconds: float
    served: int
    served_p99_ms: float
    refused: int
    refused_median_ms: float
    refused_p99_ms: float


@dataclass(slots=True)
class Times:
    """What all connections measured, in seconds."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)


class Lane:
    """One connection and the requests open on it."""

    def __init__(self, block: bytes, times: Times) -> None:
        self._times = times
        self._loop = asyncio.get_running_loop()
        self._due: dict[int, float] = {}
        self._heads: dict[int, int] = {}
        self.idle = asyncio.Event()
        self.error: Exception | None = None
        self.connection = Connection(block, self)

    def __len__(self) -> int:
        return len(self._due)

    def send(self, body: bytes, due: float) -> None:
        """Sends one request."""
        if len(self._due) >= STREAMS:
            raise SystemExit(f"more than {STREAMS} requests are open on a connection: use more connections")
        self._due[self.connection.send(body)] = due
        self.idle.clear()

    def connected(self) -> None:
        self.idle.set()

    def began(self, stream: int) -> None:
        self._heads[stream] = self._heads.get(stream, 0) + 1

    def ended(self, stream: int) -> None:
        # A served call has headers before its message and trailers behind it, a refused one a single block.
        served = self._heads.pop(stream) > 1
        took = self._loop.time() - self._due.pop(stream)
        (self._times.served if served else self._times.refused).append(took)
        if not self._due:
            self.idle.set()

    def lost(self, error: Exception) -> None:
        self.error = error
        self.idle.set()


async def flood(frames: list[bytes], block: bytes, port: int, rate: float, connections: int) -> Flood:
    """Sends every frame at its time and waits for all answers."""
    loop, times = asyncio.get_running_loop(), Times()
    lanes = deque(Lane(block, times) for _ in range(connections))
    for lane in lanes:
        await loop.create_connection(partial(_connection, lane), "127.0.0.1", port)
    began = loop.time()
    for number, body in enumerate(frames):
        due = began + number / rate
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        lanes.rotate(1)
        lanes[0].send(body, min(due, loop.time()))
    for lane in lanes:
        await lane.idle.wait()
        if lane.error:
            raise lane.error
        lane.connection.close()
    return _summed(len(frames), loop.time() - began, times)


def _connection(lane: Lane) -> Connection:
    return lane.connection


def _summed(requests: int, seconds: float, times: Times) -> Flood:
    served, refused = np.array(times.served or [np.nan]) * 1e3, np.array(times.refused or [np.nan]) * 1e3
    return Flood(
        requests,
        seconds,
        len(times.served),
        float(np.percentile(served, 99)),
        len(times.refused),
        float(np.median(refused)),
        float(np.percentile(refused, 99)),
    )


def main(arguments: list[str]) -> None:
    """Runs and prints; see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("frames", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--deadline-ms", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args(arguments)
    token = options.token_file.read_text().strip()
    block = header_block(f"127.0.0.1:{options.port}", token, timeout=f"{options.deadline_ms}m")
    frames = list(grpc_frames(options.frames.read_bytes()))
    load = flood(frames, block, options.port, options.rate, options.connections)
    print(json.dumps(asdict(uvloop.run(load))))


if __name__ == "__main__":
    main(sys.argv[1:])
