"""Fixtures that cost too much to make for each test: meshes and foreign clients."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.grpcurl import grpcurl as fetch_grpcurl
from tests.support.mesh import Mesh, MeshOptions, running_mesh
from tests.support.meshes import Meshes
from tests.support.node import GRPC_PACKAGES, Node
from tests.support.node import node as find_node
from tests.support.requests import Linear

MeshOf = Callable[[MeshOptions], Mesh]


def pytest_configure() -> None:
    """What holds for every test, wherever it runs."""
    # A shell starts what runs behind it with SIGINT ignored, and so would every process that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # No test asserts on time: a busy machine takes an example longer than Hypothesis's 200 ms.
    settings.register_profile("headrace", deadline=None)
    settings.load_profile("headrace")
    # As in the services (headrace.inference.backends): some tests import ONNX Runtime before those do.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """The mesh that `headrace up` makes by itself; one for the whole session."""
    with running_mesh(MeshOptions()) as running:
        yield running


@pytest.fixture(scope="session")
def mesh_of(mesh: Mesh) -> Iterator[MeshOf]:
    """Meshes with options, of which so many run beside each other as a module may need."""
    with Meshes(mesh.state_dir / "models") as meshes:
        yield meshes.get


@pytest.fixture(scope="session")
def linear(mesh: Mesh) -> Linear:
    """What `linear` answers, computed beside the mesh."""
    return Linear(mesh.state_dir / "models")


@pytest.fixture(scope="session")
def grpcurl() -> Path:
    return fetch_grpcurl()


@pytest.fixture(scope="session")
def node() -> Node:
    return find_node()


@pytest.fixture(scope="session")
def grpc_js(node: Node) -> Path:
    """A folder with grpc-js and its proto loader."""
    return node.with_packages(*GRPC_PACKAGES)
