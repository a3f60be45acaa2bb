"""Asks a process for its metrics: one GET over TCP or a Unix socket, bounded in time and bytes."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import httptools

MAX_BYTES = 4 * 1024 * 1024


class Unanswered(Exception):
    """The process did not tell its metrics; `refused` when nobody listens there."""

    def __init__(self, *, refused: bool) -> None:
        super().__init__("refused" if refused else "not answered")
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process tells its metrics: `host:port`, or a Unix socket."""

    address: str = ""
    socket: Path | None = None
    path: str = "/metrics"


async def scrape(place: Place, timeout_s: float) -> str:
    """The metrics as text; raises `Unanswered`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _asked(place)
    except (ConnectionRefusedError, FileNotFoundError):
        raise Unanswered(refused=True) from None
    except (OSError, TimeoutError, ValueError, OverflowError, httptools.HttpParserError):
        # Also an address that is none: it stands in a file that somebody wrote.
        raise Unanswered(refused=False) from None


async def _asked(place: Place) -> str:
    if place.socket is not None:
        reader, writer = await asyncio.open_unix_connection(str(place.socket))
    else:
        host, _, port = place.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(f"GET {place.path} HTTP/1.1\r\nHost: headrace\r\nConnection: close\r\n\r\n".encode())
        return await _answer(reader)
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> str:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete and (data := await reader.read(65_536)):
        parser.feed_data(data)
        if answer.size > MAX_BYTES:
            raise ValueError("too long")
    # A body that ends with its connection tells no length.
    if parser.get_status_code() != 200:
        raise ValueError("not OK")
    return b"".join(answer.parts).decode(errors="replace")


class _Answer:
    """What the parser calls."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.complete = False

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)

    def on_message_complete(self) -> None:
        self.complete = True
