"""Envoy's EndpointDiscoveryService: decode, ask the stream, encode."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from headrace.runtime.access import OPERATE
from headrace.runtime.rpc import Call
from headrace.scaling.envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from headrace.scaling.envoy.service.endpoint.v3 import eds_pb2
from headrace.scaling.metrics import EndpointMetrics
from headrace.scaling.streams import Stream, Streams
from headrace.scaling.wire import request_of, response_message

SERVICE = eds_pb2.DESCRIPTOR.services_by_name["EndpointDiscoveryService"]

SCOPES = {
    # Whoever listens is waited for before a replica ends: an operator's matter.
    f"/{SERVICE.full_name}/StreamEndpoints": OPERATE,
}

log = structlog.get_logger()


class DiscoveryServicer:
    """envoy.service.endpoint.v3.EndpointDiscoveryService."""

    def __init__(self, streams: Streams, metrics: EndpointMetrics) -> None:
        self._streams = streams
        self._metrics = metrics

    async def StreamEndpoints(
        self, requests: AsyncIterator[DiscoveryRequest], call: Call
    ) -> AsyncIterator[DiscoveryResponse]:
        stream = self._streams.open()
        hearing = asyncio.create_task(self._hear(stream, requests))
        try:
            while (found := await stream.next()) is not None:
                yield response_message(*found)
            if hearing.done():
                hearing.result()  # what it refused, or nothing: the gateway closed its side
        finally:
            hearing.cancel()
            self._streams.close(stream)

    async def _hear(self, stream: Stream, requests: AsyncIterator[DiscoveryRequest]) -> None:
        try:
            async for message in requests:
                if version := stream.hear(request_of(message)):
                    self._metrics.refused.inc()
                    log.error("endpoints refused", version=version, reason=message.error_detail.message[:500])
        finally:
            stream.end()
