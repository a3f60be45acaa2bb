"""Reads what the replica counts anyway, a few times a second, and puts its load as ORCA does."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from headrace.inference.core.load import Load, LoadReadings, Reading
from headrace.inference.models import Models
from headrace.inference.xds.v3.orca_load_report_pb2 import OrcaLoadReport
from headrace.runtime.clock import Clock
from headrace.runtime.loops import looping
from headrace.runtime.rpc import Call

FORMAT_HEADER = "endpoint-load-metrics-format"
"""A request with this metadata (`bin`, `text` or `json`) is told the load with its answer."""

TRAILER, BINARY_TRAILER = "endpoint-load-metrics", "endpoint-load-metrics-bin"

READ_S = 0.25
MEMORY_S = 1.0
"""Memory is read no more often: a file, and a thread to read it in."""
REQUEST_SPAN_S = 1.0
"""The time that a report with an answer covers."""

LEAST = 1e-6
"""ORCA takes 0 for not reported: a share that is known is never less than this."""

QUEUE, RESPONSE_S = "queue", "response_s"
"""Named metrics: requests that waited, on the average, and seconds that an answer took."""


class Resources(Protocol):
    """What the process has and uses; see `machine.Machine`."""

    def cores(self) -> float:
        """Cores that it may use."""
        ...

    def memory(self) -> float:
        """Share of the memory in use."""
        ...


class LoadMeter:
    """The load of this replica."""

    def __init__(self, models: Models, machine: Resources, clock: Clock) -> None:
        self._models = models
        self._machine = machine
        self._clock = clock
        self._readings = LoadReadings(machine.cores())
        self._with_answers: dict[str, tuple[str, str]] | None = None
        self._memory = 0.0
        self._memory_due = 0.0

    def report(self, span_s: float) -> OrcaLoadReport | None:
        """The load over the last `span_s`; None in the first moments."""
        load = self._readings.load(span_s)
        return None if load is None else _message(load)

    def tell(self, call: Call) -> None:
        """Adds the load to the answer of a call that asked for it."""
        wanted = call.metadata.get(FORMAT_HEADER)
        if wanted is not None and (pair := self._told().get(str(wanted).lower())):
            call.trailing.append(pair)

    def _told(self) -> dict[str, tuple[str, str]]:
        """The load in each format; put so once between two readings, where somebody asks."""
        if self._with_answers is None:
            report = self.report(REQUEST_SPAN_S)
            self._with_answers = {} if report is None else _as_metadata(report)
        return self._with_answers

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(READ_S)

    async def read(self) -> None:
        """One reading. Files are read in a thread, counters on the loop that counts."""
        now = self._clock.monotonic()
        if now >= self._memory_due:
            self._memory_due = now + MEMORY_S
            self._memory = await asyncio.to_thread(self._machine.memory)
        answered, answered_s, failed, waiting, working = 0, 0.0, 0, 0, False
        for statistics in self._models.counted():
            requests = statistics.requests
            answered += requests.answered
            answered_s += requests.answered_s
            failed += requests.failed
        for model in self._models.all():
            waiting += model.executor.waiting
            working = working or model.executor.working
        self._readings.add(
            Reading(
                self._clock.monotonic(),
                time.process_time(),
                answered,
                answered_s,
                failed,
                waiting,
                working,
                self._memory,
            )
        )
        self._with_answers = None


@asynccontextmanager
async def metering_load(models: Models, machine: Resources, clock: Clock) -> AsyncIterator[LoadMeter]:
    """A meter that reads until exit."""
    meter = LoadMeter(models, machine, clock)
    async with looping(meter.run()):
        yield meter


def _message(load: Load) -> OrcaLoadReport:
    return OrcaLoadReport(
        cpu_utilization=max(LEAST, load.cpu),
        mem_utilization=min(1.0, max(LEAST, load.memory)),
        rps_fractional=load.rate,
        eps=load.errors,
        named_metrics={QUEUE: load.queue, RESPONSE_S: load.response_s},
    )


def _as_metadata(report: OrcaLoadReport) -> dict[str, tuple[str, str]]:
    """The report in each format, as the metadata of an answer."""
    values = {
        "cpu_utilization": report.cpu_utilization,
        "mem_utilization": report.mem_utilization,
        "rps_fractional": report.rps_fractional,
        "eps": report.eps,
    }
    named = dict(report.named_metrics)
    flat = {**values, **{f"named_metrics.{name}": value for name, value in named.items()}}
    text = ", ".join(f"{name}={value:g}" for name, value in flat.items())
    document = json.dumps({**values, "named_metrics": named})
    return {
        "bin": (BINARY_TRAILER, b64encode(report.SerializeToString()).rstrip(b"=").decode()),
        "text": (TRAILER, f"TEXT {text}"),
        "json": (TRAILER, f"JSON {document}"),
    }
