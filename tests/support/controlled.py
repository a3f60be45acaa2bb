"""The mesh whose models are loaded on request, and small models in its repository."""

from headrace.inference.v2 import grpc_service_pb2 as pb
from tests.support.mesh import Mesh, MeshOptions, bearer

EXPLICIT = MeshOptions(
    replicas=2, config="inference: {model_control: explicit, load_models: [minilm, minilm-encoder, linear]}\n"
)
"""Two replicas: a command reaches one of them, and both must do it."""


def operator(mesh: Mesh) -> tuple[tuple[str, str], ...]:
    """Metadata of the mesh's operator."""
    return bearer(mesh.operator_token)


def states(mesh: Mesh) -> dict[str, str]:
    """The state of each model's newest version, as the index tells it."""
    with mesh.inference() as stub:
        answer = stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=operator(mesh), timeout=30)
    return {model.name: model.state for model in answer.models}
