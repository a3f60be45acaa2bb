"""A grpcio client of the echo, through Envoy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from tests.contract.ingress.echo import INFER_PATH, STREAM_PATH
from tests.contract.ingress.edge import TENANT, Edge

LIMIT = 64 << 20


@dataclass(frozen=True)
class Stubs:
    """The echo's two methods."""

    infer: "grpc.aio.UnaryUnaryMultiCallable[ModelInferRequest, ModelInferResponse]"
    stream: "grpc.aio.UnaryStreamMultiCallable[ModelInferRequest, ModelInferResponse]"


@asynccontextmanager
async def stubs(edge: Edge, **options: int) -> AsyncIterator[Stubs]:
    """Stubs on a channel of their own."""
    given = [("grpc.max_send_message_length", LIMIT), ("grpc.max_receive_message_length", LIMIT)]
    given += [
        ("grpc.use_local_subchannel_pool", 1),
        *((f"grpc.{name}", value) for name, value in options.items()),
    ]
    async with grpc.aio.insecure_channel(edge.target, options=given) as channel:
        write, read = ModelInferRequest.SerializeToString, ModelInferResponse.FromString
        yield Stubs(
            channel.unary_unary(INFER_PATH, write, read), channel.unary_stream(STREAM_PATH, write, read)
        )


def ask(name: str, action: str = "echo", data: bytes = b"", **parameters: int | str) -> ModelInferRequest:
    """A request of the echo."""
    request = ModelInferRequest(model_name=action, id=name, raw_input_contents=[data] if data else [])
    for key, value in parameters.items():
        if isinstance(value, int):
            request.parameters[key].int64_param = value
        else:
            request.parameters[key].string_param = value
    return request


def as_tenant(tenant: str = "demo", *more: tuple[str, str | bytes]) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata that makes the edge call on behalf of `tenant`."""
    return ((TENANT, tenant), *more)


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in an error's details."""
    status = details(error)
    assert status.code == error.code().value[0]
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def details(error: grpc.aio.AioRpcError) -> Status:
    """An error's google.rpc.Status."""
    trailers: Any = error.trailing_metadata()  # pairs; the stubs say objects
    (packed,) = [value for name, value in trailers if name == "grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    return Status.FromString(packed)
