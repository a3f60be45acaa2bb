"""One gateway for most tests of this folder; its replica is fresh in each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.local.gateway import GatewaySettings
from tests.contract.gateway.edge import Edge, edge_of
from tests.contract.gateway.replica import echo


@pytest.fixture(scope="session")
def shared_edge() -> Iterator[Edge]:
    """The gateway that the tests of this folder share."""
    settings = GatewaySettings(
        Path(), Path(), cors_origins=("https://app.example",), max_message_bytes=3 << 20
    )
    with edge_of(settings) as edge:
        yield edge


@pytest.fixture
def edge(shared_edge: Edge) -> Edge:
    """The shared gateway; its replica has seen nothing and echoes."""
    shared_edge.replica.seen.clear()
    shared_edge.replica.reply = echo
    shared_edge.replica.drop_next = 0
    shared_edge.grpc_side.seen.clear()
    return shared_edge
