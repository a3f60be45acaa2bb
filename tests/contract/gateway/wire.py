"""A gRPC call by hand: the header lists and trailers that no client library sends."""

import socket
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, GOAWAY = 0, 1, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def call(address: str, path: str, headers: Headers, message: bytes, trailers: Headers = ()) -> bytes:
    """What the server sent until the stream's end, frames and all."""
    host, _, port = address.rpartition(":")
    pseudo = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", address.encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            PREFACE
            + _frame(SETTINGS, 0, 0, b"")
            + _frame(HEADERS, END_HEADERS, 1, _block([*pseudo, *headers]))
            + _frame(DATA, 0 if trailers else END_STREAM, 1, frame)
            + (_frame(HEADERS, END_HEADERS | END_STREAM, 1, _block(trailers)) if trailers else b"")
        )
        return _until_end(connection)


def _until_end(connection: socket.socket) -> bytes:
    received = b""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            payload = stream.read(int.from_bytes(head[:3], "big"))
            received += head + payload
            kind, flags = head[3], head[4]
            if kind == SETTINGS and not flags & ACK:
                connection.sendall(_frame(SETTINGS, ACK, 0, b""))
            if kind == GOAWAY or (kind in (DATA, HEADERS) and flags & END_STREAM) or kind == 3:
                break
    return received


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _block(headers: Headers) -> bytes:
    """HPACK without its table: every field literal, none kept."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers)


def _text(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    octets, size = [127], size - 127
    while size >= 128:
        octets.append(size % 128 + 128)
        size //= 128
    return bytes([*octets, size]) + text
