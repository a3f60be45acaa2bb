"""Envoy's admin interface and Valkey's PING, over sockets that say what those say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.local.core.quiet import Activity
from headrace.local.probes import EnvoyAdmin, ValkeyProbe

CLUSTERS = (
    "inference-hot::/s/run/inference-0.hot.sock::cx_active::3\n"
    "inference-hot::/s/run/inference-0.hot.sock::health_flags::healthy\n"
    "inference-grpc::/s/run/inference-0.grpc.sock::health_flags::/failed_active_hc\n"
    "insight::/s/run/insight.grpc.sock::health_flags::healthy\n"
)


@asynccontextmanager
async def answering(path: Path, answer: bytes) -> AsyncIterator[EnvoyAdmin]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(handle, str(path)):
        yield EnvoyAdmin(path)


def http(body: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("chunked", [True, False])
async def test_hosts(tmp_path: Path, *, chunked: bool) -> None:
    """Each upstream address once, with its health; the body may come in chunks."""
    halves = (CLUSTERS[:40], CLUSTERS[40:])
    chunks = "".join(f"{len(half):x}\r\n{half}\r\n" for half in halves) + "0\r\n\r\n"
    answer = (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}".encode()
        if chunked
        else http(CLUSTERS)
    )
    async with answering(tmp_path / "a", answer) as admin:
        assert await admin.hosts() == {
            "/s/run/inference-0.hot.sock": True,
            "/s/run/inference-0.grpc.sock": False,
            "/s/run/insight.grpc.sock": True,
        }


@pytest.mark.parametrize("answer", [b"", b"x", http("PRE_INITIALIZING", "503 Service Unavailable")])
async def test_not_ready(tmp_path: Path, answer: bytes) -> None:
    """Anything but 200 is not ready, and says nothing about hosts."""
    async with answering(tmp_path / "a", answer) as admin:
        assert not await admin.ready()
        assert await admin.hosts() is None
        assert await admin.activity() == Activity(0, 0, 0)


async def test_nobody_there(tmp_path: Path) -> None:
    """Without a socket Envoy is not ready."""
    assert not await EnvoyAdmin(tmp_path / "absent").ready()


async def test_activity(tmp_path: Path) -> None:
    """What clients have is counted, on every listener; the admin interface's own is not."""
    body = (
        "http.admin.downstream_rq_active: 1\nhttp.ingress.downstream_rq_active: 4\n"
        "http.ingress.downstream_rq_total: 70\nhttp.other.downstream_rq_total: 5\n"
        "http.async-client.downstream_cx_active: 1\nhttp.ingress.downstream_cx_active: 2\n"
    )
    async with answering(tmp_path / "a", http(body)) as admin:
        assert await admin.activity() == Activity(connections=2, requests=4, total=75)


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"+OK\r\n+PONG\r\n", True),
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n-NOAUTH\r\n", False),
        (b"+OK\r\n-LOADING Valkey is loading the dataset in memory\r\n", False),
        (b"x" * 100_000, False),
        (b"", False),
    ],
)
async def test_valkey(answer: bytes, ready: bool) -> None:
    """It is ready when it takes the password and answers PING; another server on its port is not."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"PING\r\n"))
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await ValkeyProbe(f"127.0.0.1:{port}", "cache", "secret").ready() is ready
    assert asked == [b"AUTH cache secret\r\nPING\r\n"]


async def test_no_valkey() -> None:
    """Nobody listens: not ready, and no exception."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    assert not await ValkeyProbe(f"127.0.0.1:{port}", "cache", "secret").ready()
