"""HTTP/2 as a load generator needs it: requests built once as bytes, answers read for their end only.

Costs little of the cores that it shares with what it measures. How the calls
ended is counted at the gateway (`counts.py`), not here.
"""

import asyncio
from typing import Protocol, cast

from bench.target import MODEL_INFER

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
WINDOW = 2**31 - 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Sender(Protocol):
    """Who sends requests over a connection and hears of their answers."""

    def connected(self) -> None:
        """The connection takes requests now."""
        ...

    def began(self, stream: int) -> None:
        """The answer's first frame is there."""
        ...

    def ended(self, stream: int) -> None:
        """The whole answer is there."""
        ...

    def lost(self, error: Exception) -> None:
        """The connection is gone, or a request was reset."""
        ...


class Connection(asyncio.Protocol):
    """One connection of `sender`'s; `block` are the headers of every request."""

    def __init__(self, block: bytes, sender: Sender) -> None:
        self._block, self._sender = block, sender
        self._next_stream = 1
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it
        settings = frame(SETTINGS, 0, 0, b"\0\x04" + WINDOW.to_bytes(4, "big"))
        window = frame(8, 0, 0, (WINDOW - 65535).to_bytes(4, "big"))
        self._transport.write(PREFACE + settings + window)
        self._sender.connected()

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
        self._sender.lost(error or ConnectionError("the gateway closed the connection"))

    def send(self, body: bytes) -> int:
        """Sends one request; returns its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        head = frame(HEADERS, END_HEADERS, stream, self._block)
        self._transport.write(head + frame(DATA, END_STREAM, stream, body))
        return stream

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def _read(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (DATA, HEADERS):
            if kind == HEADERS:
                self._sender.began(stream)
            if flags & END_STREAM:
                self._sender.ended(stream)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            self._sender.lost(ConnectionError(f"stream {stream} ended by frame {kind}: {payload.hex()}"))
            self._transport.abort()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def header_block(authority: str, token: str, *, timeout: str = "") -> bytes:
    """HPACK literals, never indexed in the table: the same bytes for every request.

    `timeout` as gRPC writes it ("500m"); empty for none.
    """
    fields = [
        b"\x83\x86",  # :method POST, :scheme http
        b"\x04" + _text(MODEL_INFER) + b"\x01" + _text(authority),
        b"\x0f\x10" + _text("application/grpc"),  # content-type
        b"\x0f\x08" + _text(f"Bearer {token}"),  # authorization
        b"\x00" + _text("te") + _text("trailers"),
    ]
    if timeout:
        fields.append(b"\x00" + _text("grpc-timeout") + _text(timeout))
    return b"".join(fields)


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
