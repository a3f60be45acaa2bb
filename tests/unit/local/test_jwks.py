"""The JWKS endpoint: one document, nothing else, whatever is sent."""

import asyncio
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.local.jwks import MAX_HEAD_BYTES, answer, serving_jwks

DOCUMENT = b'{"keys": []}\n'


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket path; pytest's own directory is too long for one."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "jwks.sock"


def document() -> bytes:
    return DOCUMENT


async def exchange(path: Path, request: bytes) -> bytes:
    """Everything that the endpoint says, until it closes."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /.well-known/jwks.json HTTP/1.1", 200),
        ("GET /.well-known/jwks.json?x=1 HTTP/1.1", 200),
        ("GET /.well-known/jwks.json HTTP/1.0", 200),
        ("POST /.well-known/jwks.json HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
        ("GET /.well-known/../keys/x.pem HTTP/1.1", 404),
        ("GET /.well-known/jwks.json/ HTTP/1.1", 404),
        ("GET  /.well-known/jwks.json HTTP/1.1", 400),
        ("GET /.well-known/jwks.json", 400),
        ("GET /.well-known/jwks.json HTTP/2", 400),
        ("", 400),
    ],
)
def test_only_the_public_set_is_served(line: str, status: int) -> None:
    """By GET, at its own path."""
    said = answer(line.encode() + b"\r\nhost: jwks", document)
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert said.endswith(b"\r\n\r\n" + (DOCUMENT if status == 200 else b""))


async def test_the_document_is_asked_anew_each_time(path: Path) -> None:
    """A rotated key is served at once."""
    documents = iter([b"one", b"two"])
    request = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: x\r\n\r\n"
    async with serving_jwks(path, lambda: next(documents)):
        assert (await exchange(path, request)).endswith(b"one")
        assert (await exchange(path, request)).endswith(b"two")


def test_the_socket_is_the_owners_and_goes_with_the_server(path: Path) -> None:
    """0600 while it serves, none afterwards, and one left by a killed process is replaced."""

    async def mode_while_serving() -> int:
        async with serving_jwks(path, document):
            return stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116  # nothing else runs here

    path.write_text("left behind")
    assert asyncio.run(mode_while_serving()) == 0o600
    assert not path.exists()


async def test_a_head_without_end_is_cut_off(path: Path) -> None:
    """Bounded in size: nobody fills the memory of the supervisor."""
    async with serving_jwks(path, document):
        said = await exchange(path, b"GET / HTTP/1.1\r\nx: " + b"a" * (4 * MAX_HEAD_BYTES))
        assert said == b"" or said.startswith(b"HTTP/1.1 431 ")
        request = b"GET /.well-known/jwks.json HTTP/1.1\r\n\r\n"
        assert json.loads((await exchange(path, request)).split(b"\r\n\r\n")[1]) == {"keys": []}


async def test_a_client_that_leaves_hurts_nobody(path: Path) -> None:
    """Half a request, then nothing: the next client is served."""
    async with serving_jwks(path, document):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /.well")
        writer.close()
        await writer.wait_closed()
        request = b"GET /.well-known/jwks.json HTTP/1.1\r\n\r\n"
        assert (await exchange(path, request)).endswith(DOCUMENT)
