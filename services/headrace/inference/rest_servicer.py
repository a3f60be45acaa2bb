"""headrace.inference.v1.RestService: the HTTP form of the protocol, behind the gateway's transcoder."""

from typing import Any

from google.api.httpbody_pb2 import HttpBody

from headrace import __version__
from headrace.inference.control_errors import server_not_ready
from headrace.inference.describing import metadata_of, statistics_of
from headrace.inference.errors import model_not_ready
from headrace.inference.generate import parse_generate, write_generated
from headrace.inference.models import Models
from headrace.inference.plain import plain
from headrace.inference.predict import parse_predict, write_predictions
from headrace.inference.rest_body import LENGTH_HEADER, as_json, parse_body, parse_object, write_body
from headrace.inference.servicer import InferenceServicer
from headrace.inference.shared_memory import Inferring
from headrace.inference.told import told
from headrace.inference.v1 import rest_service_pb2 as pb
from headrace.inference.v2.grpc_service_pb2 import RepositoryIndexRequest
from headrace.runtime.access import INFER, OBSERVE
from headrace.runtime.rpc import Call

SERVICE = pb.DESCRIPTOR.services_by_name["RestService"]
OBSERVED = ("ModelConfig", "ModelStatistics", "RepositoryIndex")
SCOPES = {
    f"/{SERVICE.full_name}/{method.name}": OBSERVE if method.name in OBSERVED else INFER
    for method in SERVICE.methods
}

JSON = "application/json"
BINARY = "application/octet-stream"
EVENTS = "text/event-stream; charset=utf-8"


class RestServicer:
    """Decode, call, encode. `rpcs` answers what differs from gRPC's form in its writing only."""

    def __init__(self, models: Models, service: Inferring, rpcs: InferenceServicer) -> None:
        self._models = models
        self._service = service
        self._rpcs = rpcs

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> HttpBody:
        return json_body({"live": True})

    async def ServerReady(self, request: pb.ServerReadyRequest, call: Call) -> HttpBody:
        # A client looks at the status, not at the body.
        if unready := self._models.unready(call.arrived):
            raise server_not_ready(unready)
        return json_body({"ready": True})

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, call: Call) -> HttpBody:
        return json_body(
            {"name": "headrace", "version": __version__, "extensions": list(self._rpcs.extensions)}
        )

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> HttpBody:
        model = self._models.find(request.model_name, request.model_version)
        if model.runs.stalled(call.arrived):
            raise model_not_ready(model.name, "STALLED")
        return json_body({"name": request.model_name, "ready": True})

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: Call) -> HttpBody:
        return json_body(plain(metadata_of(self._models, request.model_name, request.model_version)))

    async def ModelConfig(self, request: pb.ModelConfigRequest, call: Call) -> HttpBody:
        return json_body(plain(self._models.find(request.model_name, request.model_version).config))

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, call: Call) -> HttpBody:
        return json_body(plain(statistics_of(self._models, request.model_name, request.model_version)))

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, call: Call) -> HttpBody:
        given = parse_object(request.body.data, {"ready": bool})
        asked = RepositoryIndexRequest(
            repository_name=request.repository_name, ready=bool(given.get("ready", False))
        )
        answer = await self._rpcs.RepositoryIndex(asked, call)
        # Triton leaves out what is empty.
        rows = [{key: text for key, text in plain(row).items() if text} for row in answer.models]
        return HttpBody(content_type=JSON, data=as_json(rows))

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> HttpBody:
        asked = parse_body(request.body.data, str(call.metadata.get(LENGTH_HEADER, "")))
        asked.request.model_name = request.model_name
        asked.request.model_version = request.model_version
        written = await self._service.infer(asked.request, call, lambda done: write_body(asked, done))
        written = written.told(told(asked.request, call.trailing))
        _tell_in_headers(call)
        if written.header_length is None:
            return HttpBody(content_type=JSON, data=written.data)
        call.initial.append((LENGTH_HEADER, str(written.header_length)))
        return HttpBody(content_type=BINARY, data=written.data)

    async def Predict(self, request: pb.PredictRequest, call: Call) -> HttpBody:
        model = self._models.find(request.model_name, request.model_version)
        asked = parse_predict(request.body.data, model.backend.signature)
        asked.request.model_name = request.model_name
        asked.request.model_version = request.model_version
        written = await self._service.infer(asked.request, call, lambda done: write_predictions(asked, done))
        written = written.told(told(asked.request, call.trailing))
        _tell_in_headers(call)
        return HttpBody(content_type=JSON, data=written.data)

    async def Generate(self, request: pb.GenerateRequest, call: Call) -> HttpBody:
        data = await self._generated(request.model_name, request.model_version, request.body.data, call)
        return HttpBody(content_type=JSON, data=data)

    async def GenerateStream(self, request: pb.GenerateStreamRequest, call: Call) -> HttpBody:
        # Every model here answers once: the stream is one event, and needs no RPC that streams.
        data = await self._generated(request.model_name, request.model_version, request.body.data, call)
        return HttpBody(content_type=EVENTS, data=b"data: %b\n\n" % data)

    async def _generated(self, name: str, version: str, body: bytes, call: Call) -> bytes:
        asked = parse_generate(body, self._models.find(name, version).backend.signature)
        asked.model_name, asked.model_version = name, version
        written = await self._service.infer(asked, call, lambda done: write_generated(asked.id, done))
        written = written.with_fields(told(asked, call.trailing))
        _tell_in_headers(call)
        return written.data


def _tell_in_headers(call: Call) -> None:
    """HTTP clients see no trailers: the timings leave as headers."""
    call.initial += call.trailing
    call.trailing.clear()


def json_body(document: dict[str, Any] | list[Any]) -> HttpBody:
    """A JSON answer."""
    return HttpBody(content_type=JSON, data=as_json(document))
