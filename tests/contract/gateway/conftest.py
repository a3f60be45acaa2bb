"""One gateway for most tests of this folder; its replica is fresh in each."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.local.gateway import GatewaySettings
from tests.contract.gateway.edge import Edge, running_edge
from tests.contract.gateway.replica import echo

ORIGIN = "https://app.example"


@pytest.fixture(scope="session")
def shared_edge() -> Iterator[Edge]:
    # Not pytest's own directory: its path would be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="edge") as directory:
        settings = GatewaySettings(Path(), Path(), cors_origins=(ORIGIN,), max_message_bytes=1 << 20)
        with running_edge(Path(directory), settings) as edge:
            yield edge


@pytest.fixture
def edge(shared_edge: Edge) -> Edge:
    shared_edge.replica.seen.clear()
    shared_edge.replica.reply = echo
    shared_edge.replica.drop_next = 0
    shared_edge.grpc_side.seen.clear()
    return shared_edge
