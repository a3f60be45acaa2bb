"""inference.GRPCInferenceService: decode, call, encode."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from headrace import __version__
from headrace.inference.commands import Commands
from headrace.inference.control_errors import (
    region_not_found,
    repository_unknown,
    shared_memory_unsupported,
)
from headrace.inference.core.memory import Region
from headrace.inference.describing import index_of, is_ready, metadata_of, statistics_of
from headrace.inference.memory_control import MemoryControl
from headrace.inference.models import Models
from headrace.inference.shared_memory import Inferring
from headrace.inference.streams import Streams
from headrace.inference.told import with_told
from headrace.inference.v2 import grpc_service_pb2 as pb
from headrace.runtime.access import INFER, OBSERVE, OPERATE
from headrace.runtime.rpc import Call

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "statistics",
    "trace",
    "logging",
)
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
        "ModelStreamInfer": INFER,
        "ModelConfig": OBSERVE,
        "ModelStatistics": OBSERVE,
        "RepositoryIndex": OBSERVE,
        "SystemSharedMemoryStatus": OBSERVE,
        "CudaSharedMemoryStatus": OBSERVE,
        "RepositoryModelLoad": OPERATE,
        "RepositoryModelUnload": OPERATE,
        "SystemSharedMemoryRegister": OPERATE,
        "SystemSharedMemoryUnregister": OPERATE,
        "CudaSharedMemoryRegister": OPERATE,
        "CudaSharedMemoryUnregister": OPERATE,
        "TraceSetting": OPERATE,
        "LogSettings": OPERATE,
    }.items()
}

CUDA = "CUDA"


class InferenceServicer:
    """The contract's 20 RPCs."""

    def __init__(
        self,
        models: Models,
        service: Inferring,
        commands: Commands,
        streams: Streams,
        memory: MemoryControl,
        extensions: Sequence[str],
    ) -> None:
        self._models = models
        self._service = service
        self._commands = commands
        self._streams = streams
        self._memory = memory
        self.extensions = extensions

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=not self._models.unready(call.arrived))

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(
            ready=is_ready(self._models, request.name, request.version, call.arrived)
        )

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, call: Call
    ) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="headrace", version=__version__, extensions=self.extensions)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:
        return metadata_of(self._models, request.name, request.version)

    async def ModelConfig(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=self._models.find(request.name, request.version).config)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, call: Call
    ) -> pb.ModelStatisticsResponse:
        return statistics_of(self._models, request.name, request.version)

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> bytes:
        answer = await self._service.infer(request, call, lambda done: done.encoded(request.id))
        return with_told(answer, request, call.trailing)

    def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], call: Call
    ) -> AsyncIterator[bytes]:
        return self._streams.answers(requests, call)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, call: Call
    ) -> pb.RepositoryIndexResponse:
        _check_repository(request.repository_name)
        names = await asyncio.to_thread(self._commands.repository.names)
        return index_of(self._models, names, ready=request.ready)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        name = _model_of(request)
        await self._commands.load(name, _parameters(request.parameters))
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        name = _model_of(request)
        await self._commands.unload(name, _parameters(request.parameters))
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)

    async def TraceSetting(self, request: pb.TraceSettingRequest, call: Call) -> pb.TraceSettingResponse:
        if request.model_name:
            self._models.find(request.model_name, "")
        settings = {name: list(given.value) for name, given in request.settings.items()}
        told = await self._commands.set_traces(settings, request.model_name)
        values = {name: pb.TraceSettingResponse.SettingValue(value=value) for name, value in told.items()}
        return pb.TraceSettingResponse(settings=values)

    async def LogSettings(self, request: pb.LogSettingsRequest, call: Call) -> pb.LogSettingsResponse:
        told = await self._commands.set_logs(_parameters(request.settings))
        response = pb.LogSettingsResponse()
        for name, value in told.items():
            target = response.settings[name]
            if isinstance(value, bool):
                target.bool_param = value
            else:
                target.uint32_param = int(value)
        return response

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, call: Call
    ) -> pb.SystemSharedMemoryStatusResponse:
        found = await self._memory.regions(call, request.name)
        response = pb.SystemSharedMemoryStatusResponse()
        for name, region in found.items():
            response.regions[name].CopyFrom(
                pb.SystemSharedMemoryStatusResponse.RegionStatus(
                    name=name, key=region.key, offset=region.offset, byte_size=region.byte_size
                )
            )
        return response

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, call: Call
    ) -> pb.SystemSharedMemoryRegisterResponse:
        region = Region(request.key, request.offset, request.byte_size)
        await self._memory.register(call, request.name, region)
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, call: Call
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        await self._memory.unregister(call, request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, call: Call
    ) -> pb.CudaSharedMemoryStatusResponse:
        if request.name:
            raise region_not_found(CUDA, request.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, call: Call
    ) -> pb.CudaSharedMemoryRegisterResponse:
        raise shared_memory_unsupported(CUDA)

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, call: Call
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        return pb.CudaSharedMemoryUnregisterResponse()


def _model_of(request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest) -> str:
    """The model's name, in Triton's dialect or in KServe's."""
    if not request.model_name:
        return request.repository_name
    _check_repository(request.repository_name)
    return request.model_name


def _check_repository(name: str) -> None:
    if name:
        raise repository_unknown(name)


def _parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a map of protobuf's `parameter_choice` messages; None for one that is not set."""
    return {
        name: getattr(parameter, field) if (field := parameter.WhichOneof("parameter_choice")) else None
        for name, parameter in parameters.items()
    }
