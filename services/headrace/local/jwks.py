"""The public keys over HTTP/1.1 on a Unix socket, for the gateway.

Answers `GET /.well-known/jwks.json` and nothing else, one request on each
connection, bounded in size and in time.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

JWKS_PATH = "/.well-known/jwks.json"
MAX_HEAD_BYTES = 16 * 1024
READ_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 64


@asynccontextmanager
async def serving_jwks(path: Path, document: Callable[[], bytes]) -> AsyncIterator[None]:
    """Serves what `document` returns; it is asked anew for each request."""
    endpoint = _Endpoint(document)
    server = await asyncio.start_unix_server(endpoint.connected, sock=_bound(path), limit=MAX_HEAD_BYTES)
    try:
        async with server:
            yield
    finally:
        _remove(path)


def answer(head: bytes, document: Callable[[], bytes]) -> bytes:
    """The answer to a request's head (everything before the empty line)."""
    parts = head.split(b"\r\n", 1)[0].split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return _response(HTTPStatus.BAD_REQUEST)
    method, target = parts[0], parts[1]
    if target.split(b"?", 1)[0] != JWKS_PATH.encode():
        return _response(HTTPStatus.NOT_FOUND)
    if method != b"GET":
        return _response(HTTPStatus.METHOD_NOT_ALLOWED, extra="allow: GET\r\n")
    return _response(HTTPStatus.OK, document(), "cache-control: max-age=5\r\n")


class _Endpoint:
    def __init__(self, document: Callable[[], bytes]) -> None:
        self._document = document
        self._open = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > MAX_CONNECTIONS:
                writer.write(_response(HTTPStatus.SERVICE_UNAVAILABLE))
            else:
                writer.write(await self._answer(reader))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away, or never said what it wants
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return answer(head, self._document)


def _bound(path: Path) -> socket.socket:
    _remove(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound.bind(str(path))
    path.chmod(0o600)
    return bound


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _response(status: HTTPStatus, body: bytes = b"", extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
        f"{extra}"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
