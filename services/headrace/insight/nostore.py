"""In the store's place when no traces are kept."""

from collections.abc import Callable
from typing import TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.insight.core.otlp import span_count
from headrace.insight.errors import traces_not_kept
from headrace.insight.metrics import InsightMetrics
from headrace.insight.store import SqliteStore

T = TypeVar("T")


class NoStore:
    """Takes every span and keeps none; a question is refused with TRACES_NOT_KEPT."""

    def __init__(self, metrics: InsightMetrics) -> None:
        self._received = metrics.received

    def offer(self, request: ExportTraceServiceRequest) -> bool:
        """Counts the spans."""
        self._received.inc(span_count(request))
        return True

    async def ask(self, _question: Callable[[SqliteStore], T]) -> T:
        """Never answers."""
        raise traces_not_kept()
