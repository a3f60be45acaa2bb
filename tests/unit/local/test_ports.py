"""TCP ports of the loopback."""

import os
import random
import socket
from collections.abc import Iterator

import pytest

from headrace.local.ports import HOST, FreePorts, holder, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield int(server.getsockname()[1])


def test_taken(taken: int) -> None:
    """A port that somebody listens on is not free, and its holder has a name and a pid."""
    assert not is_free(taken)
    assert holder(taken).startswith(f"pid {os.getpid()} (")


def test_taken_with_reuse() -> None:
    """Envoy shares its port with whoever asks for it (SO_REUSEPORT): such a port is taken all the same."""
    with socket.create_server((HOST, 0), reuse_port=True) as server:
        assert not is_free(server.getsockname()[1])


def test_free_again(taken: int) -> None:
    """A port whose last connection was closed a moment ago is free: a restart must not wait for TIME_WAIT."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((HOST, port)):
            accepted, _ = server.accept()
            accepted.close()
    assert is_free(port)


def test_never_one_twice() -> None:
    """Ports are given out in rows, none twice, all below the kernel's ephemeral range."""
    ports = FreePorts(random.Random(1))
    given = [port for _ in range(50) for first in [ports.take(2)] for port in (first, first + 1)]
    assert len(set(given)) == 100
    assert max(given) < 32768


def test_meshes_side_by_side() -> None:
    """Two that draw alike still get free ports: a port that is held meanwhile is passed over."""
    first = FreePorts(random.Random(7)).take()
    with socket.create_server((HOST, first)):
        assert FreePorts(random.Random(7)).take() != first
