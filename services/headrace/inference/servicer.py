"""inference.GRPCInferenceService: decode, call, encode."""

from headrace import __version__
from headrace.inference import errors
from headrace.inference.core.tensors import TensorSpec
from headrace.inference.models import Model, Models
from headrace.inference.service import InferenceService
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.runtime.access import INFER, OBSERVE
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics")
"""Triton's extensions that are served."""

SCOPES = {
    f"/{SERVICE.full_name}/{name}": scope
    for name, scope in {
        "ServerLive": INFER,
        "ServerReady": INFER,
        "ModelReady": INFER,
        "ServerMetadata": INFER,
        "ModelMetadata": INFER,
        "ModelInfer": INFER,
        "ModelConfig": OBSERVE,
        "ModelStatistics": OBSERVE,
        "RepositoryIndex": OBSERVE,
    }.items()
}


class InferenceServicer:
    """The RPCs of the contract that are served; the others answer UNIMPLEMENTED."""

    def __init__(self, models: Models, service: InferenceService) -> None:
        self._models = models
        self._service = service

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not self._models.failures)

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=is_ready(self._models, request.name, request.version))

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, call: Call
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="headrace", version=__version__, extensions=EXTENSIONS)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:
        return metadata_of(self._models.find(request.name, request.version))

    async def ModelConfig(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=self._models.find(request.name, request.version).config)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        models = [self._models.find(request.name, request.version)] if request.name else self._models.all()
        return pb.ModelStatisticsResponse(model_stats=[model.statistics.message() for model in models])

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, call: Call
    ) -> pb.RepositoryIndexResponse:
        response = pb.RepositoryIndexResponse()
        for model in self._models.all():
            response.models.add(name=model.name, version=model.version, state="READY")
        if not request.ready:
            for name, reason in self._models.failures.items():
                response.models.add(name=name, state="UNAVAILABLE", reason=reason)
        return response

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> bytes:
        return await self._service.infer(request, call, lambda done: done.encoded(request.id))


def is_ready(models: Models, name: str, version: str) -> bool:
    """Whether the model serves; raises for one that does not exist."""
    try:
        models.find(name, version)
    except HeadraceError as error:
        if error.reason == errors.model_not_ready("", "").reason:
            return False
        raise
    return True


def metadata_of(model: Model) -> pb.ModelMetadataResponse:
    """What the model takes and gives; shapes begin with the batch dimension, -1."""
    signature = model.backend.signature
    response = pb.ModelMetadataResponse(
        name=model.name, versions=[model.version], platform=model.backend.platform
    )
    for spec in signature.inputs:
        _describe(response.inputs.add(), spec, batches=signature.batches)
    for spec in signature.outputs:
        _describe(response.outputs.add(), spec, batches=signature.batches)
    return response


def _describe(tensor: pb.ModelMetadataResponse.TensorMetadata, spec: TensorSpec, *, batches: bool) -> None:
    tensor.name = spec.name
    tensor.datatype = spec.datatype
    tensor.shape.extend((-1, *spec.dims) if batches else spec.dims)
