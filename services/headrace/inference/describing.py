"""What models are, in the contract's messages."""

from headrace.inference.core.repository import State
from headrace.inference.core.tensors import TensorSpec
from headrace.inference.models import Model, Models
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.runtime.errors import HeadraceError

ABSENT = ("MODEL_NOT_FOUND", "VERSION_NOT_FOUND", "MODEL_NOT_READY")


def is_ready(models: Models, name: str, version: str, now: float) -> bool:
    """Whether the model serves and has not stalled; one that nobody knows does not (as Triton answers)."""
    try:
        return not models.find(name, version).stalled(now)
    except HeadraceError as error:
        if error.reason in ABSENT:
            return False
        raise


def metadata_of(models: Models, name: str, version: str) -> pb.ModelMetadataResponse:
    """What the model takes and gives; shapes begin with the batch dimension, -1."""
    model = models.find(name, version)
    signature = model.backend.signature
    response = pb.ModelMetadataResponse(
        name=model.name,
        versions=[one.version for one in models.versions(name)],
        platform=model.backend.platform,
    )
    for spec in signature.inputs:
        _describe(response.inputs.add(), spec, batches=signature.batches)
    for spec in signature.outputs:
        _describe(response.outputs.add(), spec, batches=signature.batches)
    return response


def statistics_of(models: Models, name: str, version: str) -> pb.ModelStatisticsResponse:
    """The counts of a version, of a model's versions, or of all that serve."""
    if not name:
        found: list[Model] = models.all()
    elif version:
        found = [models.find(name, version)]
    else:
        found = models.versions(models.find(name, "").name)
    return pb.ModelStatisticsResponse(model_stats=[model.statistics.message() for model in found])


def index_of(models: Models, others: list[str], *, ready: bool) -> pb.RepositoryIndexResponse:
    """Every version and its state; `others` are models of the repository that were never loaded."""
    response = pb.RepositoryIndexResponse()
    for name in sorted({*models.index.names(), *others}):
        entries = models.index.entries(name)
        if not entries and not ready:
            response.models.add(name=name)
        for entry in entries:
            if not ready or entry.state is State.READY:
                response.models.add(
                    name=name, version=entry.version, state=entry.state.value, reason=entry.reason
                )
    return response


def _describe(tensor: pb.ModelMetadataResponse.TensorMetadata, spec: TensorSpec, *, batches: bool) -> None:
    tensor.name = spec.name
    tensor.datatype = spec.datatype
    tensor.shape.extend((-1, *spec.dims) if batches else spec.dims)
