"""HTTP for one page on the loopback: one request a connection, small, in time, or none.

What it does not do: bodies, keep-alive, compression, TLS. It is no server for
strangers: it listens on the loopback only, and answers only to loopback names,
so that no other site's name can be made to point here (DNS rebinding).
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

import httptools
import structlog

from headrace.runtime.server import ListenError

HEAD_BYTES, HEAD_S, ANSWER_S = 16 * 1024, 5.0, 15.0
MOST_CONNECTIONS = 64
MOST_FIELDS = 16
OUR_NAMES = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. Names of headers are in lower case, and each occurs once."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Response]]


class _Refused(Exception):
    """A request that is not served, whatever it asks for."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@asynccontextmanager
async def serving_page(listen: str, handler: Handler) -> AsyncIterator[str]:
    """Serves on `host:port` of the loopback; the address, with the port that was bound. Raises ListenError."""
    host, _, port = listen.rpartition(":")
    connections = _Connections(handler)
    try:
        server = await asyncio.start_server(connections.serve, host.strip("[]"), int(port), limit=HEAD_BYTES)
    except OSError as error:
        raise ListenError(f"can't serve the web page on {listen}: {error.strerror}") from None
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await connections.end()


class _Connections:
    """Those that are open, and no more than `MOST_CONNECTIONS`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            with suppress(OSError, TimeoutError):  # who has gone needs no answer
                async with asyncio.timeout(HEAD_S + ANSWER_S):
                    response = await self._answer(reader)
                    writer.write(_written(response))
                    await writer.drain()
        finally:
            self._open.discard(task)
            writer.close()

    async def end(self) -> None:
        """Waits for nobody."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader) -> Response:
        try:
            async with asyncio.timeout(HEAD_S):
                request = await _read(reader)
            return await self._handler(request)
        except _Refused as refused:
            return Response(f"{refused.status.phrase}\n".encode(), status=refused.status)
        except (OSError, TimeoutError):  # gone, or too slow: there is nobody to answer
            raise
        except Exception:  # root of the connection's task: the page's fault is logged and not shown
            log.exception("the page failed")
            return Response(b"The server failed; its log has the cause.\n", status=HTTPStatus(500))


async def _read(reader: asyncio.StreamReader) -> Request:
    """The head of a request; raises `_Refused`."""
    head = _Head()
    parser = httptools.HttpRequestParser(head)
    size = 0
    while not head.complete:
        data = await reader.read(HEAD_BYTES)
        size += len(data)
        if not data:
            raise ConnectionResetError
        if size > HEAD_BYTES:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise _Refused(HTTPStatus.BAD_REQUEST) from None
    return head.request(parser.get_method().decode("ascii"))


class _Head:
    """What the parser calls."""

    def __init__(self) -> None:
        self.complete = False
        self._url = b""
        self._headers: list[tuple[str, str]] = []

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.complete = True

    def request(self, method: str) -> Request:
        """The request; raises `_Refused`."""
        headers = dict(self._headers)
        if len(headers) != len(self._headers) or "transfer-encoding" in headers:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        if headers.get("content-length", "0") != "0":
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if not OUR_NAMES.fullmatch(headers.get("host", "")):
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST)
        try:
            url = httptools.parse_url(self._url)
            query = parse_qsl((url.query or b"").decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS)
            return Request(method, url.path.decode(), dict(query), headers)
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, ValueError, AttributeError):
            raise _Refused(HTTPStatus.BAD_REQUEST) from None


def _written(response: Response) -> bytes:
    headers = {
        **SECURITY_HEADERS,
        "content-type": response.kind,
        "content-length": str(len(response.body)),
        "connection": "close",
        **response.headers,
    }
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body
