"""Exact counts of what a model did, in the contract's form and as metrics.

`inference` counts rows, `execution` counts runs of the model, `success` and
`fail` count requests, as Triton's ModelStatistics defines them.
"""

from asyncio import CancelledError
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from headrace.inference.batcher import Batch
from headrace.inference.errors import EXECUTION_FAILED
from headrace.inference.v2.grpc_service_pb2 import ModelStatistics
from headrace.runtime.errors import HeadraceError
from headrace.runtime.metrics import SECONDS_BUCKETS, LoopHistogram

BATCH_ROWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)

REJECTED, CANCELED, BACKEND, OTHER = FAILURES = "REJECTED", "CANCELED", "BACKEND", "OTHER"
"""Triton's words for why a request failed: it was not begun, its caller left, the model failed, anything else."""

UNBEGUN = frozenset(
    {
        "QUEUE_FULL",
        "DEADLINE_INFEASIBLE",
        "DEADLINE_EXCEEDED",
        "RATE_LIMITED",
        "CONCURRENCY_LIMITED",
        "BREAKER_OPEN",
        "USAGE_OUTBOX_FULL",
    }
)
"""Reasons of requests that a queue or a limit turned away."""


@dataclass(slots=True)
class Tally:
    """A count of requests or runs, and their time."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchTally:
    """Runs of one batch size."""

    compute_input: Tally = field(default_factory=Tally)
    compute_infer: Tally = field(default_factory=Tally)
    compute_output: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Requests:
    """How many requests ended so far, and how long the answered ones took together, in seconds."""

    answered: int
    answered_s: float
    failed: int


class InferenceMetrics:
    """The service's metrics, one set a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.request_seconds = LoopHistogram(
            "headrace_inference_request_seconds",
            "Time of a request from its arrival to its answer, or to its end without one (failed).",
            ("model", "result"),
            SECONDS_BUCKETS,
            registry,
        )
        self.queue_seconds = LoopHistogram(
            "headrace_inference_queue_seconds",
            "Time of a request from its arrival in the queue to the start of its batch.",
            ("model",),
            SECONDS_BUCKETS,
            registry,
        )
        self.compute_seconds = LoopHistogram(
            "headrace_inference_compute_seconds",
            "Time of a batch in the model.",
            ("model",),
            SECONDS_BUCKETS,
            registry,
        )
        self.batch_rows = LoopHistogram(
            "headrace_inference_batch_rows",
            "Rows of a batch.",
            ("model",),
            BATCH_ROWS_BUCKETS,
            registry,
        )


class Statistics:
    """One model version's statistics. Counted on the event loop only; read from anywhere."""

    def __init__(self, model: str, version: str, metrics: InferenceMetrics) -> None:
        self._model = model
        self._version = version
        self._inferences = 0
        self._executions = 0
        self._last_ms = 0
        self._success = Tally()
        self._fail = Tally()
        self.failures = dict.fromkeys(FAILURES, 0)
        self._queue = Tally()
        self._cache_hit = Tally()
        self._cache_miss = Tally()
        self._sizes: dict[int, BatchTally] = {}
        self._ok_seconds = metrics.request_seconds.series(model, "ok")
        self._failed_seconds = metrics.request_seconds.series(model, "failed")
        self._queue_seconds = metrics.queue_seconds.series(model)
        self._compute_seconds = metrics.compute_seconds.series(model)
        self._batch_rows = metrics.batch_rows.series(model)

    def executed(self, batch: Batch, now_ms: int) -> None:
        """Counts a batch."""
        done = batch.executed
        self._executions += done.runs
        answers = zip(batch.tickets, done.answers, strict=True)
        self._inferences += sum(ticket.rows for ticket, answer in answers if answer is not None)
        self._last_ms = now_ms
        tally = self._sizes.setdefault(batch.rows, BatchTally())
        tally.compute_input.add(done.infer_ns - done.started_ns)
        tally.compute_infer.add(done.output_ns - done.infer_ns)
        tally.compute_output.add(done.ended_ns - done.output_ns)
        self._compute_seconds.observe((done.output_ns - done.infer_ns) * 1e-9)
        self._batch_rows.observe(batch.rows)
        started = done.started_ns * 1e-9
        total = 0.0
        for ticket in batch.tickets:
            waited = started - ticket.arrived
            total += waited
            self._queue_seconds.observe(waited)
        self._queue.add(int(total * 1e9), len(batch.tickets))

    def passed(self, rows: int, queue_ns: int, compute_ns: int, now_ms: int) -> None:
        """Counts a request of an ensemble as one run; its steps' own runs are their models' to count."""
        self._executions += 1
        self._inferences += rows
        self._last_ms = now_ms
        self._sizes.setdefault(rows, BatchTally()).compute_infer.add(compute_ns)
        self._queue.add(queue_ns)
        self._compute_seconds.observe(compute_ns * 1e-9)
        self._queue_seconds.observe(queue_ns * 1e-9)
        self._batch_rows.observe(rows)

    def answered(self, ns: int) -> None:
        """Counts a request that succeeded; `ns` from arrival to answer."""
        self._success.add(ns)
        self._ok_seconds.observe(ns * 1e-9)

    def looked_up(self, ns: int, *, hit: bool) -> None:
        """Counts a request that a cache was asked for; `ns` from its arrival to its answer."""
        (self._cache_hit if hit else self._cache_miss).add(ns)

    def failed(self, ns: int, error: BaseException) -> None:
        """Counts a request that failed, and why."""
        self._fail.add(ns)
        self.failures[_failure(error)] += 1
        self._failed_seconds.observe(ns * 1e-9)

    @property
    def requests(self) -> Requests:
        """The requests that ended."""
        return Requests(self._success.count, self._success.ns * 1e-9, self._fail.count)

    def message(self) -> ModelStatistics:
        """The contract's form."""
        message = ModelStatistics(
            name=self._model,
            version=self._version,
            last_inference=self._last_ms,
            inference_count=self._inferences,
            execution_count=self._executions,
        )
        stats = message.inference_stats
        for name, tally in (
            ("success", self._success),
            ("fail", self._fail),
            ("queue", self._queue),
            ("cache_hit", self._cache_hit),
            ("cache_miss", self._cache_miss),
        ):
            target = getattr(stats, name)
            target.count, target.ns = tally.count, tally.ns
        for rows, size in sorted(
            self._sizes.items()
        ):  # a copy in one step: metrics are read in another thread
            row = message.batch_stats.add(batch_size=rows)
            for name in ("compute_input", "compute_infer", "compute_output"):
                tally = getattr(size, name)
                for target in (getattr(row, name), getattr(stats, name)):
                    target.count += tally.count
                    target.ns += tally.ns
        return message


def _failure(error: BaseException) -> str:
    """One of `FAILURES`."""
    if isinstance(error, CancelledError):
        return CANCELED
    if not isinstance(error, HeadraceError):
        return OTHER
    if error.reason == EXECUTION_FAILED:
        return BACKEND
    return REJECTED if error.reason in UNBEGUN else OTHER
