"""headrace.inference.v1.RestControlService: decode, have the gRPC contract's servicer do it, encode."""

from typing import Any

from google.api.httpbody_pb2 import HttpBody

from headrace.inference.commands import Commands
from headrace.inference.control_errors import repository_unknown, setting_invalid
from headrace.inference.errors import body_invalid
from headrace.inference.models import Models
from headrace.inference.plain import plain
from headrace.inference.rest_body import parse_object
from headrace.inference.rest_servicer import json_body
from headrace.inference.servicer import InferenceServicer
from headrace.inference.v1 import rest_control_service_pb2 as pb
from headrace.inference.v2 import grpc_service_pb2 as grpc_pb
from headrace.runtime.access import OBSERVE, OPERATE
from headrace.runtime.rpc import Call

SERVICE = pb.DESCRIPTOR.services_by_name["RestControlService"]
SCOPES = {
    f"/{SERVICE.full_name}/{method.name}": OBSERVE if method.name.endswith("MemoryStatus") else OPERATE
    for method in SERVICE.methods
}


class RestControlServicer:
    """Decode, call, encode."""

    def __init__(self, models: Models, commands: Commands, rpcs: InferenceServicer) -> None:
        self._models = models
        self._commands = commands
        self._rpcs = rpcs

    async def RepositoryModelLoad(self, request: pb.RepositoryModelLoadRequest, call: Call) -> HttpBody:
        _check_repository(request.repository_name)
        await self._commands.load(request.model_name, _parameters(request.body))
        return json_body({})

    async def RepositoryModelUnload(self, request: pb.RepositoryModelUnloadRequest, call: Call) -> HttpBody:
        _check_repository(request.repository_name)
        await self._commands.unload(request.model_name, _parameters(request.body))
        return json_body({})

    async def GetTraceSetting(self, request: pb.GetTraceSettingRequest, call: Call) -> HttpBody:
        return await self._traces(request.model_name, {})

    async def UpdateTraceSetting(self, request: pb.UpdateTraceSettingRequest, call: Call) -> HttpBody:
        given = parse_object(request.body.data)
        return await self._traces(
            request.model_name, {name: _texts(name, value) for name, value in given.items()}
        )

    async def GetLogSettings(self, request: pb.GetLogSettingsRequest, call: Call) -> HttpBody:
        return json_body(await self._commands.set_logs({}))

    async def UpdateLogSettings(self, request: pb.UpdateLogSettingsRequest, call: Call) -> HttpBody:
        return json_body(await self._commands.set_logs(parse_object(request.body.data)))

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, call: Call
    ) -> HttpBody:
        asked = grpc_pb.SystemSharedMemoryStatusRequest(name=request.region)
        found = await self._rpcs.SystemSharedMemoryStatus(asked, call)
        return json_body([plain(found.regions[name]) for name in sorted(found.regions)])

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, call: Call
    ) -> HttpBody:
        given = parse_object(request.body.data, {"key": str, "offset": int, "byte_size": int})
        asked = grpc_pb.SystemSharedMemoryRegisterRequest(
            name=request.region,
            key=given.get("key", ""),
            offset=_size("offset", given),
            byte_size=_size("byte_size", given),
        )
        await self._rpcs.SystemSharedMemoryRegister(asked, call)
        return json_body({})

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, call: Call
    ) -> HttpBody:
        asked = grpc_pb.SystemSharedMemoryUnregisterRequest(name=request.region)
        await self._rpcs.SystemSharedMemoryUnregister(asked, call)
        return json_body({})

    async def CudaSharedMemoryStatus(self, request: pb.CudaSharedMemoryStatusRequest, call: Call) -> HttpBody:
        await self._rpcs.CudaSharedMemoryStatus(
            grpc_pb.CudaSharedMemoryStatusRequest(name=request.region), call
        )
        return json_body([])

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, call: Call
    ) -> HttpBody:
        asked = grpc_pb.CudaSharedMemoryRegisterRequest(name=request.region)
        await self._rpcs.CudaSharedMemoryRegister(asked, call)
        return json_body({})

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, call: Call
    ) -> HttpBody:
        return json_body({})

    async def _traces(self, model: str, settings: dict[str, list[str]]) -> HttpBody:
        if model:
            self._models.find(model, "")
        told = await self._commands.set_traces(settings, model)
        # As Triton: the levels are a list, everything else is one text.
        return json_body(
            {name: values if name == "trace_level" else values[0] for name, values in told.items()}
        )


def _check_repository(name: str) -> None:
    if name:
        raise repository_unknown(name)


def _parameters(body: HttpBody) -> dict[str, Any]:
    given = parse_object(body.data, {"parameters": dict})
    parameters: dict[str, Any] = given.get("parameters", {})
    return parameters


def _size(name: str, given: dict[str, Any]) -> int:
    """A size of the body; 0 where it has none."""
    size = given.get(name, 0)
    if isinstance(size, bool) or not 0 <= size < 2**63:
        raise body_invalid(name, "expected a whole number from 0")
    return int(size)


def _texts(name: str, value: object) -> list[str]:
    """A setting's values; null and an empty list mean the value of the start."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in values):
        raise setting_invalid(name, "expected a text, a list of texts, or null")
    return [str(one) for one in values]
