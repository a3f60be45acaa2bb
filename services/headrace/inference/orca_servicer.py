"""xds.service.orca.v3.OpenRcaService: decode, ask the meter, encode."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from headrace.inference.errors import field_invalid, streams_exhausted
from headrace.inference.load import READ_S, LoadMeter
from headrace.inference.xds.v3 import orca_service_pb2
from headrace.inference.xds.v3.orca_load_report_pb2 import OrcaLoadReport
from headrace.inference.xds.v3.orca_service_pb2 import OrcaLoadReportRequest
from headrace.runtime.access import OBSERVE
from headrace.runtime.rpc import Call

SERVICE = orca_service_pb2.DESCRIPTOR.services_by_name["OpenRcaService"]
SCOPES = {f"/{SERVICE.full_name}/StreamCoreMetrics": OBSERVE}

DEFAULT_INTERVAL_S = 10.0
SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.1, 3600.0
MOST_STREAMS = 64


class OrcaServicer:
    """Reports beside the requests, until `end`: an open stream would hold up the server's drain."""

    def __init__(self, meter: LoadMeter) -> None:
        self._meter = meter
        self._streams = 0
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Ends all streams, those that come yet too."""
        self._ended.set()

    async def StreamCoreMetrics(
        self, request: OrcaLoadReportRequest, call: Call
    ) -> AsyncIterator[OrcaLoadReport]:
        interval_s = _interval_s(request)
        if self._streams >= MOST_STREAMS:
            raise streams_exhausted(MOST_STREAMS)
        self._streams += 1
        try:
            while not self._ended.is_set():
                report = self._meter.report(interval_s)
                if report is not None:
                    yield report
                await self._pause(interval_s if report is not None else READ_S)
        finally:
            self._streams -= 1

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()


def _interval_s(request: OrcaLoadReportRequest) -> float:
    if not request.HasField("report_interval"):
        return DEFAULT_INTERVAL_S
    interval = request.report_interval
    if interval.seconds < 0 or interval.nanos < 0:
        raise field_invalid("report_interval", "must not be negative")
    return min(LONGEST_INTERVAL_S, max(SHORTEST_INTERVAL_S, interval.seconds + interval.nanos * 1e-9))
