"""The edge's access log, in OTLP's form and in Envoy's own: decode, count."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from headrace.metering.core.joining import Entry
from headrace.metering.edge_wire import entries_of, lines_of
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

    def take(self, entries: Iterable[Entry]) -> None:
        """Counts a batch."""
        ...


class LogsServicer:
    """opentelemetry.proto.collector.logs.v1.LogsService, of whose logs only the edge's lines are taken."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def Export(self, request: ExportLogsServiceRequest, _call: Call) -> ExportLogsServiceResponse:
        """Takes lines. What is none is told as OTLP's partial success: it must not be sent again."""
        lines = lines_of(request)
        self._entries.take(lines.entries)
        if not lines.refused:
            return ExportLogsServiceResponse()
        return ExportLogsServiceResponse(
            partial_success=ExportLogsPartialSuccess(
                rejected_log_records=lines.refused, error_message=lines.problem
            )
        )


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
                self._entries.take(entries_of(message))
        finally:
            self._streams -= 1
        return StreamAccessLogsResponse()
