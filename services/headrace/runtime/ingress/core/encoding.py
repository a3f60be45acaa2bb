"""Answers as bytes: the only place of the hot ingress that writes a header.

gRPC over HTTP/1.1: the head says 200, messages are chunks, the status and the
trailing metadata are HTTP trailers; an answer without a message is header-only.
A name or value with a control character (CR, LF and NUL above all) is refused
everywhere, or a value could end its header and begin an answer of its own.
"""

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

Pairs = Sequence[tuple[str, str]]

_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
_CHUNKED = _OK + b"transfer-encoding: chunked\r\n\r\n"
_CHUNKED_OPEN = _OK + b"transfer-encoding: chunked\r\n"
_CLOSE = b"connection: close\r\n"
_LAST_CHUNK = b"0\r\n"

# All of printable ASCII but the percent sign, which quote() then escapes itself.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_PRINTABLE = bytes(range(0x20, 0x7F))
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_OURS = frozenset({"connection", "content-length", "content-type", "keep-alive", "te", "trailer",
                   "transfer-encoding", "upgrade", "x-envoy-ratelimited"})  # fmt: skip

# grpc-js and grpcio take 8 KiB of metadata: a failure must fit, or it reaches nobody.
MESSAGE_CHARACTERS = 1024
DETAILS_BYTES = 4096


class HeaderRefused(ValueError):
    """A header that may not be sent: its name isn't ours to set, or its value could end it."""


def fields(pairs: Pairs) -> bytes:
    """The header lines of a handler's metadata; raises `HeaderRefused`."""
    for name, _ in pairs:
        _check_name(name)
    return _lines(pairs)


def percent_encoded(message: str) -> str:
    """`grpc-message`: printable ASCII as it is, all else as %XX of its UTF-8."""
    return quote(message[:MESSAGE_CHARACTERS], safe=_PLAIN, errors="replace")


def unary(message: bytes, initial: Pairs, trailing: Pairs, *, close: bool) -> bytes:
    """A whole answer of one message, in one piece."""
    return b"%s%x\r\n\0%s%s\r\n0\r\ngrpc-status: 0\r\n%s\r\n" % (
        _head(initial, close=close),
        len(message) + 5,
        len(message).to_bytes(4, "big"),
        message,
        fields(trailing) if trailing else b"",
    )


def stream_head(initial: Pairs, *, close: bool) -> bytes:
    """What precedes a stream's first message."""
    return _head(initial, close=close)


def stream_message(message: bytes) -> bytes:
    """One message of a stream, as one chunk."""
    return b"%x\r\n\0%s%s\r\n" % (len(message) + 5, len(message).to_bytes(4, "big"), message)


def stream_end(code: int, message: str, details: bytes, trailing: Pairs) -> bytes:
    """What follows a stream's last message: its status, good or bad, as trailers."""
    return b"".join((_LAST_CHUNK, _lines(_status(code, message, details)), fields(trailing), b"\r\n"))


def failure(code: int, message: str, details: bytes, extra: Pairs, *, close: bool) -> bytes:
    """A header-only answer. `extra` are headers of the transport's own, not of a handler."""
    return b"".join(
        (_OK, _CLOSE if close else b"", _lines([*_status(code, message, details), *extra]),
         b"content-length: 0\r\n\r\n")
    )  # fmt: skip


def plain(status: int, phrase: str, body: bytes, *, close: bool) -> bytes:
    """An answer that is no gRPC: of `/healthz`, or to what is no gRPC request."""
    return b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\n%scontent-length: %d\r\n\r\n%s" % (
        status,
        phrase.encode("ascii"),
        _CLOSE if close else b"",
        len(body),
        body,
    )


def _head(initial: Pairs, *, close: bool) -> bytes:
    if not initial and not close:
        return _CHUNKED
    return b"".join((_CHUNKED_OPEN, _CLOSE if close else b"", fields(initial), b"\r\n"))


def _status(code: int, message: str, details: bytes) -> list[tuple[str, str]]:
    pairs = [("grpc-status", str(code))]
    if message:
        pairs.append(("grpc-message", percent_encoded(message)))
    if details and len(details) <= DETAILS_BYTES:
        pairs.append(("grpc-status-details-bin", b64encode(details).rstrip(b"=").decode("ascii")))
    return pairs


def _lines(pairs: Pairs) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in pairs]).encode("utf-8", "surrogatepass")
    # One pass over all of it: without what may be printed, nothing but our own line ends is left.
    if lines.translate(None, _PRINTABLE) != b"\r\n" * len(pairs):
        raise HeaderRefused("a header holds something else than printable ASCII")
    return lines


@lru_cache(maxsize=512)
def _check_name(name: str) -> None:
    if not name or not _TOKEN.issuperset(name):
        raise HeaderRefused(f"{name!r} is no header name")
    if name in _OURS or name.startswith("grpc-"):
        raise HeaderRefused(f"{name} is the transport's to set")
