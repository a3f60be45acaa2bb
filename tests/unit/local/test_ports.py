"""TCP ports of the loopback."""

import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

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


@pytest.fixture
def ports_of() -> Iterator[Callable[[int], FreePorts]]:
    """Ports drawn from a seed, let go of at the end."""
    with ExitStack() as made:
        yield lambda seed: made.enter_context(closing(FreePorts(random.Random(seed))))


def test_never_one_twice(ports_of: Callable[[int], FreePorts]) -> None:
    """Ports are given out in rows, none twice, all below the kernel's ephemeral range."""
    ports = ports_of(1)
    given = [port for _ in range(50) for first in [ports.take(2)] for port in (first, first + 1)]
    assert len(set(given)) == 100
    assert max(given) < 32768


def test_meshes_side_by_side(ports_of: Callable[[int], FreePorts]) -> None:
    """Two that draw alike at the same moment get different ports: what one was given, the other passes over."""
    ours, theirs = ports_of(7), ports_of(7)
    first = {ours.take() for _ in range(20)}
    assert first.isdisjoint({theirs.take() for _ in range(20)})


def test_whoever_it_is_for_may_listen(ports_of: Callable[[int], FreePorts]) -> None:
    """A port that was given out is free for the server that gets it, Envoy's kind (SO_REUSEPORT) too, and again after it."""
    port = ports_of(1).take()
    for reuse_port in (False, True, False):
        assert is_free(port)
        with socket.create_server((HOST, port), reuse_port=reuse_port) as server:
            assert not is_free(port)
            with socket.create_connection((HOST, port)):
                server.accept()[0].close()


def test_let_go() -> None:
    """After `close` anybody may have them."""
    ports = FreePorts(random.Random(1))
    port = ports.take()
    ports.close()
    with closing(socket.socket()) as other:
        other.bind((HOST, port))
