"""Envoy's AccessLogService: decode, count."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from headrace.metering.envoy.service.accesslog.v3.als_pb2 import (
    StreamAccessLogsMessage,
    StreamAccessLogsResponse,
)
from headrace.metering.errors import streams_exhausted
from headrace.metering.streams import until
from headrace.runtime.rpc import Call

MAX_STREAMS = 64
"""Each of a gateway's threads has one."""


class Entries(Protocol):
    """Who counts the edge's requests."""

    def take(self, message: StreamAccessLogsMessage) -> None:
        """Counts a batch."""
        ...


class AccessLogServicer:
    """envoy.service.accesslog.v3.AccessLogService."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._streams = 0
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Ends the streams: they would outlast any grace."""
        self._draining.set()

    async def StreamAccessLogs(
        self, requests: AsyncIterator[StreamAccessLogsMessage], _call: Call
    ) -> StreamAccessLogsResponse:
        if self._streams >= MAX_STREAMS:
            raise streams_exhausted()
        self._streams += 1
        try:
            async for message in until(self._draining, requests):
                self._entries.take(message)
        finally:
            self._streams -= 1
        return StreamAccessLogsResponse()
