"""headrace.inference.v1.RestService: the HTTP form of the protocol, behind the gateway's transcoder."""

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToDict

from headrace import __version__
from headrace.inference.control_errors import server_not_ready
from headrace.inference.describing import metadata_of
from headrace.inference.models import Models
from headrace.inference.rest_body import LENGTH_HEADER, as_json, parse_body, write_body
from headrace.inference.service import InferenceService
from headrace.inference.servicer import EXTENSIONS
from headrace.inference.v1 import rest_service_pb2 as pb
from headrace.runtime.access import INFER
from headrace.runtime.rpc import Call

SERVICE = pb.DESCRIPTOR.services_by_name["RestService"]
SCOPES = {f"/{SERVICE.full_name}/{method.name}": INFER for method in SERVICE.methods}

JSON = "application/json"
BINARY = "application/octet-stream"


class RestServicer:
    """Decode, call, encode."""

    def __init__(self, models: Models, service: InferenceService) -> None:
        self._models = models
        self._service = service

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> HttpBody:
        return _json({"live": True})

    async def ServerReady(self, request: pb.ServerReadyRequest, call: Call) -> HttpBody:
        # A client looks at the status, not at the body.
        if not self._models.ready:
            raise server_not_ready(self._models.index.failures())
        return _json({"ready": True})

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, call: Call) -> HttpBody:
        return _json({"name": "headrace", "version": __version__, "extensions": list(EXTENSIONS)})

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> HttpBody:
        self._models.find(request.model_name, request.model_version)
        return _json({"name": request.model_name, "ready": True})

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: Call) -> HttpBody:
        metadata = metadata_of(self._models, request.model_name, request.model_version)
        document = MessageToDict(metadata, preserving_proto_field_name=True)
        for tensor in document["inputs"] + document["outputs"]:
            # proto3 JSON writes int64 as text; the protocol wants numbers.
            tensor["shape"] = [int(size) for size in tensor.get("shape", ())]
        return _json(document)

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> HttpBody:
        asked = parse_body(request.body.data, str(call.metadata.get(LENGTH_HEADER, "")))
        asked.request.model_name = request.model_name
        asked.request.model_version = request.model_version
        written = await self._service.infer(asked.request, call, lambda done: write_body(asked, done))
        # HTTP clients see no trailers: the timings leave as headers.
        call.initial += call.trailing
        call.trailing.clear()
        if written.header_length is None:
            return HttpBody(content_type=JSON, data=written.data)
        call.initial.append((LENGTH_HEADER, str(written.header_length)))
        return HttpBody(content_type=BINARY, data=written.data)


def _json(document: dict[str, object]) -> HttpBody:
    return HttpBody(content_type=JSON, data=as_json(document))
