"""Server reflection v1 and v1alpha, so that grpcurl works without proto files.

grpcio-reflection serves v1alpha only. The two versions differ in nothing but
their package, so v1 passes its messages on as v1alpha's.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection_pb2 as v1alpha
from grpc_reflection.v1alpha import reflection_pb2_grpc as v1alpha_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from headrace.runtime.reflection.v1 import reflection_pb2 as v1
from headrace.runtime.reflection.v1 import reflection_pb2_grpc as v1_grpc

V1 = v1.DESCRIPTOR.services_by_name["ServerReflection"].full_name
V1ALPHA = v1alpha.DESCRIPTOR.services_by_name["ServerReflection"].full_name


class ReflectionV1(v1_grpc.ServerReflectionServicer):
    """v1 on top of the v1alpha servicer."""

    def __init__(self, inner: ReflectionServicer) -> None:
        self._inner = inner

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterator[v1.ServerReflectionRequest], context: Any
    ) -> AsyncIterator[v1.ServerReflectionResponse]:
        async def requests() -> AsyncIterator[v1alpha.ServerReflectionRequest]:
            async for request in request_iterator:
                yield v1alpha.ServerReflectionRequest.FromString(request.SerializeToString())

        async for answer in self._inner.ServerReflectionInfo(requests(), context):
            yield v1.ServerReflectionResponse.FromString(answer.SerializeToString())


def add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    """Serves both versions; `services` are the full names of the others."""
    inner = ReflectionServicer((*services, V1, V1ALPHA))
    v1alpha_grpc.add_ServerReflectionServicer_to_server(inner, server)
    v1_grpc.add_ServerReflectionServicer_to_server(ReflectionV1(inner), server)
