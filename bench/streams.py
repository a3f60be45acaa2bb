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
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

from bench.target import MODEL_INFER, Sample

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(value: str) -> bytes:
    """An HPACK string that isn't Huffman-coded."""
    raw = value.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, length = len(raw) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    length.append(rest)
    return bytes(length) + raw


def header_block(authority: str, token: str) -> bytes:
    """HPACK literals, never indexed in the table: the same bytes for every request."""
    return b"".join(
        (
            b"\x83\x86",  # :method POST, :scheme http
            b"\x04" + _text(MODEL_INFER) + b"\x01" + _text(authority),
            b"\x0f\x10" + _text("application/grpc"),  # content-type
            b"\x0f\x08" + _text(f"Bearer {token}"),  # authorization
            b"\x00" + _text("te") + _text("trailers"),
        )
    )


def grpc_frames(content: bytes) -> Iterator[bytes]:
    """The gRPC frames that stand back to back in `content`."""
    at = 0
    while at < len(content):
        end = at + 5 + int.from_bytes(content[at + 1 : at + 5], "big")
        yield content[at:end]
        at = end


class Connection(asyncio.Protocol):
    """One connection with a fixed number of streams in flight, until the frames are used up."""

    def __init__(self, block: bytes, frames: Iterator[bytes], streams: int, times: list[float]) -> None:
        self._block, self._frames, self._streams, self._times = block, frames, streams, times
        self._started: dict[int, float] = {}
        self._next_stream = 1
        self._unread = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it
        settings = frame(SETTINGS, 0, 0, b"\0\x04" + WINDOW.to_bytes(4, "big"))
        window = frame(8, 0, 0, (WINDOW - 65535).to_bytes(4, "big"))
        self._transport.write(PREFACE + settings + window)
        for _ in range(self._streams):
            self._send()
        self._finish_when_idle()

    def data_received(self, data: bytes) -> None:
        data = self._unread + data
        at = 0
        while len(data) >= at + 9:
            end = at + 9 + int.from_bytes(data[at : at + 3], "big")
            if len(data) < end:
                break
            self._read(
                data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big"), data[at + 9 : end]
            )
            at = end
        self._unread = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the gateway closed the connection"))

    def _read(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._times.append(time.perf_counter() - self._started.pop(stream))
            self._send()
            self._finish_when_idle()
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            self.done.set_exception(
                ConnectionError(f"stream {stream} ended by frame {kind}: {payload.hex()}")
            )
            self._transport.abort()

    def _send(self) -> None:
        body = next(self._frames, None)
        if body is None:
            return
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._started[stream] = time.perf_counter()
        head = frame(HEADERS, END_HEADERS, stream, self._block)
        self._transport.write(head + frame(DATA, END_STREAM, stream, body))

    def _finish_when_idle(self) -> None:
        if not self._started and not self.done.done():
            self.done.set_result(None)


async def send(frames: list[bytes], *, port: int, token: str, connections: int, streams: int) -> Sample:
    """Sends every frame once and waits for all answers."""
    loop = asyncio.get_running_loop()
    rest, times = iter(frames), list[float]()
    block = header_block(f"127.0.0.1:{port}", token)
    start = time.perf_counter()
    made = [
        await loop.create_connection(lambda: Connection(block, rest, streams, times), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    seconds = time.perf_counter() - start
    for transport, _ in made:
        transport.close()
    p50, p99 = np.percentile(times, [50, 99]) * 1e6
    return Sample(len(times), seconds, float(p50), float(p99))


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
