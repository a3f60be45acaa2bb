"""The mesh on each hot path."""

import pytest

from tests.conftest import MeshOf
from tests.support.mesh import H2, Mesh


@pytest.fixture(scope="session", params=["h1", "h2"])
def hot_mesh(request: pytest.FixtureRequest, mesh: Mesh, mesh_of: MeshOf) -> Mesh:
    """A mesh whose hot path is the hot ingress, and one whose is HTTP/2; each has one replica."""
    return mesh if request.param == "h1" else mesh_of(H2)
