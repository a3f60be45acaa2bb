"""What waits for one receiver: a bounded queue, and the batches that leave it. Decides; sends nothing."""

from collections import deque
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.insight.core.otlp import is_valid, span_count
from headrace.insight.core.secrets import redact


class Part(NamedTuple):
    """One export as it was received, in OTLP's bytes, and how many spans it holds."""

    data: bytes
    spans: int


class Outbox:
    """The oldest first; what finds no room is refused at once.

    A batch stays, and takes its room, until it is `settled`: one that could not
    be sent is the next batch again.
    """

    def __init__(self, limit_bytes: int, batch_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._batch_bytes = batch_bytes
        self._parts: deque[Part] = deque()
        self.bytes = 0
        """Of all that waits."""

    def offer(self, part: Part) -> bool:
        """Whether there was room for it."""
        if self.bytes + len(part.data) > self._limit_bytes:
            return False
        self._parts.append(part)
        self.bytes += len(part.data)
        return True

    def batch(self) -> list[Part]:
        """The oldest parts, as many as a batch may hold and never less than one; empty when nothing waits."""
        taken: list[Part] = []
        size = 0
        for part in self._parts:
            size += len(part.data)
            if taken and size > self._batch_bytes:
                break
            taken.append(part)
        return taken

    def settled(self, batch: list[Part]) -> None:
        """Forgets the batch that `batch` answered with: it was delivered, or given up."""
        for part in batch:
            self._parts.popleft()
            self.bytes -= len(part.data)


def outgoing(batch: list[Part]) -> Part:
    """One export of all the batch's spans, without secrets and without spans that no receiver could take."""
    # Messages written one after the other are one message: their lists are joined.
    request = ExportTraceServiceRequest.FromString(b"".join(part.data for part in batch))
    for resource in request.resource_spans:
        redact(resource.resource.attributes)
        for scope in resource.scope_spans:
            redact(scope.scope.attributes)
            for number in reversed(range(len(scope.spans))):
                if not is_valid(scope.spans[number]):
                    del scope.spans[number]
            for span in scope.spans:
                redact(span.attributes)
                for event in span.events:
                    redact(event.attributes)
                for link in span.links:
                    redact(link.attributes)
    return Part(request.SerializeToString(), span_count(request))
