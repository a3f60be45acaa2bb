"""The mesh on each hot path."""

import pytest

from tests.conftest import MeshOf
from tests.support.mesh import H2, Mesh


@pytest.fixture(scope="session", params=["h1", "h2"])
def hot_mesh(request: pytest.FixtureRequest, mesh: Mesh, mesh_of: MeshOf) -> Mesh:
    """The mesh with one replica on the hot ingress, and one with two replicas that speak HTTP/2 only."""
    return mesh if request.param == "h1" else mesh_of(H2)
