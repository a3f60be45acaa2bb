"""Reads one gRPC request after the other off a connection's bytes.

Bounded in everything: headers, what is neither header nor message, the message.
Trailers are parsed and dropped: Envoy's header stripping does not reach them.
Knows no sockets; `feed` it what was read, then look at what it has.
"""

import httptools

from headrace.runtime.ingress.core.faults import WireFault
from headrace.runtime.ingress.core.framing import PREFIX_BYTES, parse_prefix

# What chunked framing may add to each part of a body, with room to spare ("ffffffff\r\n" + "\r\n").
_FRAMING_BYTES = 32


class RequestReader:
    """The request that is being read; `reset` makes it ready for the next one.

    `headed`: path and headers (names in lower case, duplicates kept) are whole.
    `keep_alive`: the client wants the connection kept. `expected`: the body's
    bytes, prefix included, None until the prefix is in. `complete`: all of it
    is in. `fault`: why it can't be served. Anything fed after `complete` breaks
    the connection.
    """

    __slots__ = (
        "_extra_bytes", "_lines", "_max_headers", "_max_message_bytes", "_parser", "_parts", "_pieces",
        "_size", "_wire", "complete", "compressed", "expected", "fault", "headed", "headers",
        "keep_alive", "path",
    )  # fmt: skip

    def __init__(self, max_headers: int, max_header_bytes: int, max_message_bytes: int) -> None:
        self._max_headers = max_headers
        self._extra_bytes = max_header_bytes
        self._max_message_bytes = max_message_bytes
        self.reset()
        self._parser = httptools.HttpRequestParser(self)

    def reset(self) -> None:
        """Forgets the request that was read."""
        self.path = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self._lines: list[tuple[bytes, bytes]] = []
        self.headed = self.complete = self.compressed = False
        self.keep_alive = True
        self.expected: int | None = None
        self.fault: WireFault | None = None
        self._parts: list[bytes] = []
        self._size = self._wire = self._pieces = 0

    def feed(self, data: bytes) -> bool:
        """Takes what was read. False: this is no HTTP, or a second request before its turn."""
        self._wire += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, WireFault):
                return False
            self.fault = error.__context__
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return False
        if self._wire - self._size > self._extra_bytes + _FRAMING_BYTES * self._pieces:
            self.fault = self.fault or WireFault("HEADER_INVALID", "the request's headers are too long")
        return True

    @property
    def begun(self) -> bool:
        """Whether any byte of a request has come."""
        return self._wire > 0

    @property
    def method(self) -> bytes:
        """The request's HTTP method."""
        method: bytes = self._parser.get_method()
        return method

    def message(self) -> bytes:
        """The message of a complete request, without its prefix; gives the memory away."""
        parts, self._parts = self._parts, []
        if len(parts) == 1:
            return parts[0][PREFIX_BYTES:]
        return b"".join(parts)[PREFIX_BYTES:]

    def close(self) -> None:
        """Breaks the cycle between this and its parser."""
        del self._parser

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.complete:
            raise _Pipelined

    def on_url(self, part: bytes) -> None:
        self.path += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        # What comes into the new list are trailers, which nobody reads.
        self.headers, self._lines = self._lines, []
        if len(self.headers) > self._max_headers:
            raise WireFault("HEADER_INVALID", "the request has too many headers")
        self.headed = True
        # Asked now: the parser forgets it at the request's end.
        self.keep_alive = bool(self._parser.should_keep_alive())

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)
        self._pieces += 1
        self._size += len(part)
        if self.expected is None and self._size >= PREFIX_BYTES:
            prefix = part if self._pieces == 1 else b"".join(self._parts)
            self.compressed, length = parse_prefix(prefix, self._max_message_bytes)
            self.expected = length + PREFIX_BYTES
        if self.expected is not None and self._size > self.expected:
            raise WireFault("MESSAGE_INVALID", "the request has more than one message")

    def on_message_complete(self) -> None:
        self.complete = True
        if self.expected is None or self._size < self.expected:
            self.fault = WireFault("MESSAGE_INVALID", "the request ends before its message does")


class _Pipelined(Exception):
    """A request came before the one ahead of it was answered."""
