"""Load with distinct payloads: a raw HTTP/2 client that sends each frame of a file once.

    python -m bench.streams FRAMES --port N --token-file FILE [--connections 8] [--streams 16]

FRAMES holds gRPC frames back to back. Requests are built once as bytes and
answers are only looked at for the end of their stream, so that it takes little
of the cores it shares with what it measures; `grpc-status` is counted at the
gateway (`counts.py`). Prints a `Sample` as JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from bench.target import Sample
from bench.wire import Connection, header_block


def grpc_frames(content: bytes) -> Iterator[bytes]:
    """The gRPC frames that stand back to back in `content`."""
    at = 0
    while at < len(content):
        end = at + 5 + int.from_bytes(content[at + 1 : at + 5], "big")
        yield content[at:end]
        at = end


class Flight:
    """One connection with a fixed number of streams in flight, until the frames are used up."""

    def __init__(self, block: bytes, frames: Iterator[bytes], streams: int, times: list[float]) -> None:
        self._frames, self._streams, self._times = frames, streams, times
        self._started: dict[int, float] = {}
        self.connection = Connection(block, self)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connected(self) -> None:
        for _ in range(self._streams):
            self._send()
        self._finish_when_idle()

    def began(self, stream: int) -> None:
        pass

    def ended(self, stream: int) -> None:
        self._times.append(time.perf_counter() - self._started.pop(stream))
        self._send()
        self._finish_when_idle()

    def lost(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _send(self) -> None:
        body = next(self._frames, None)
        if body is not None:
            self._started[self.connection.send(body)] = time.perf_counter()

    def _finish_when_idle(self) -> None:
        if not self._started and not self.done.done():
            self.done.set_result(None)


async def send(frames: list[bytes], *, port: int, token: str, connections: int, streams: int) -> Sample:
    """Sends every frame once and waits for all answers."""
    loop = asyncio.get_running_loop()
    rest, times = iter(frames), list[float]()
    block = header_block(f"127.0.0.1:{port}", token)
    start = time.perf_counter()
    flights = [Flight(block, rest, streams, times) for _ in range(connections)]
    for flight in flights:
        await loop.create_connection(partial(_connection, flight), "127.0.0.1", port)
    await asyncio.gather(*(flight.done for flight in flights))
    seconds = time.perf_counter() - start
    for flight in flights:
        flight.connection.close()
    p50, p99 = np.percentile(times, [50, 99]) * 1e6
    return Sample(len(times), seconds, float(p50), float(p99))


def _connection(flight: Flight) -> Connection:
    return flight.connection


def main(arguments: list[str]) -> None:
    """Sends and prints; see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("frames", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-file", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--streams", type=int, default=16)
    options = parser.parse_args(arguments)
    frames = list(grpc_frames(options.frames.read_bytes()))
    token = options.token_file.read_text().strip()
    load = send(
        frames, port=options.port, token=token, connections=options.connections, streams=options.streams
    )
    print(json.dumps(asdict(uvloop.run(load))))


if __name__ == "__main__":
    main(sys.argv[1:])
