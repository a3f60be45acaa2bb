"""The mesh on each hot path."""

from collections.abc import Iterator

import pytest

from tests.conftest import MeshOf
from tests.support.mesh import H2, Mesh
from tests.support.place import Place, new_place


@pytest.fixture(scope="module", params=["h1", "h2"])
def hot_mesh(request: pytest.FixtureRequest, mesh: Mesh, mesh_of: MeshOf) -> Mesh:
    """A mesh whose hot path is the hot ingress, and one whose is HTTP/2; each has one replica."""
    return mesh if request.param == "h1" else mesh_of(H2)


@pytest.fixture
def place(mesh: Mesh) -> Iterator[Place]:
    """Where a test starts a mesh of its own, as a user would."""
    with new_place(mesh.state_dir / "models") as found:
        yield found
