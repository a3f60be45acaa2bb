"""Listens to every replica's load reports (ORCA, out of band), each on a stream of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration

from headrace.inference.xds.v3.orca_load_report_pb2 import OrcaLoadReport
from headrace.inference.xds.v3.orca_service_pb2 import OrcaLoadReportRequest
from headrace.inference.xds.v3.orca_service_pb2_grpc import OpenRcaServiceStub
from headrace.runtime.access import OBSERVE, SCOPES_HEADER, TENANT_HEADER
from headrace.runtime.channels import open_channel
from headrace.runtime.clock import Clock
from headrace.scaling.core.signals import Signal, Signals
from headrace.scaling.fleet import Replica

RETRY_S = 0.5

IDENTITY = (
    (TENANT_HEADER, "scaling"),
    (SCOPES_HEADER, OBSERVE),
    # A trace that is not sampled: a stream of days is no span.
    ("traceparent", f"00-{'1' * 32}-{'1' * 16}-00"),
)
"""What the replica's Unix socket believes; nobody else reaches it."""

log = structlog.get_logger()


class Collector:
    """One task for each replica that is followed, in a task group of the caller's."""

    def __init__(self, signals: Signals, interval_s: float, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self._signals = signals
        self._clock = clock
        self._tasks = tasks
        self._request = OrcaLoadReportRequest(report_interval=_duration(interval_s))
        self._following: dict[tuple[str, str], asyncio.Task[None]] = {}

    def follow(self, replicas: Sequence[Replica]) -> None:
        """Listens to these replicas from now on, and to no others."""
        wanted = {(replica.name, replica.grpc_socket) for replica in replicas}
        for gone in self._following.keys() - wanted:
            self._following.pop(gone).cancel()
        for name, socket in wanted - self._following.keys():
            task = self._tasks.create_task(self._listen(name, socket), name=f"load of {name}")
            self._following[name, socket] = task

    def end(self) -> None:
        """Listens to nobody any more."""
        self.follow(())

    async def _listen(self, name: str, socket: str) -> None:
        """Until cancelled; a replica that is not there is asked again."""
        async with open_channel(f"unix:{socket}") as channel:
            stub = OpenRcaServiceStub(channel)
            while True:
                try:
                    # Without a deadline: a report that does not come makes the last one stale.
                    async for report in stub.StreamCoreMetrics(self._request, metadata=IDENTITY):
                        self._signals.report(name, signals_of(report), self._clock.monotonic())
                except grpc.aio.AioRpcError as error:
                    log.info("no load reports", replica=name, code=error.code().name)
                await asyncio.sleep(RETRY_S)


@asynccontextmanager
async def collecting(signals: Signals, interval_s: float, clock: Clock) -> AsyncIterator[Collector]:
    """A collector; it listens to nobody after exit."""
    async with asyncio.TaskGroup() as tasks:
        collector = Collector(signals, interval_s, clock, tasks)
        try:
            yield collector
        finally:
            collector.end()


def signals_of(report: OrcaLoadReport) -> Mapping[Signal, float]:
    """The signals in a report: those that it has."""
    shares = {Signal.CPU: report.cpu_utilization, Signal.MEMORY: report.mem_utilization}
    # ORCA's 0 is a value that was not set.
    found = {signal: value for signal, value in shares.items() if value > 0.0}
    found[Signal.REQUEST_RATE] = report.rps_fractional
    if Signal.GPU.value in report.utilization:
        found[Signal.GPU] = report.utilization[Signal.GPU.value]
    for signal in (Signal.RESPONSE_TIME, Signal.QUEUE):
        if signal.value in report.named_metrics:
            found[signal] = report.named_metrics[signal.value]
    return found


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
