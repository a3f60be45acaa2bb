"""An OTLP receiver beside insight: a gRPC server of its own threads, as a Jaeger would be."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

THREADS = 4


class Receiver(TraceServiceServicer):
    """Keeps what it gets. `answers` cleared lets it hang; `refusals` are its next answers, the first one first."""

    def __init__(self) -> None:
        self.address = ""
        self.answers = threading.Event()
        self.answers.set()
        self.refusals: list[grpc.StatusCode] = []
        self.calls = 0
        self._lock = threading.Lock()
        self._taken: list[ExportTraceServiceRequest] = []

    def Export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        with self._lock:
            self.calls += 1
            refusal = self.refusals.pop(0) if self.refusals else None
        self.answers.wait()
        if refusal is not None:
            context.abort(refusal, "as the test asked")
        with self._lock:
            self._taken.append(request)
        return ExportTraceServiceResponse()

    def spans(self) -> list[tuple[str, Span]]:
        """What it took: each span with its service's name, in the order of arrival."""
        with self._lock:
            taken = list(self._taken)
        return [
            (attribute.value.string_value, span)
            for request in taken
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def receiving(address: str = "127.0.0.1:0") -> Iterator[Receiver]:
    """A receiver that listens; behind the block nothing of it does."""
    receiver = Receiver()
    with ThreadPoolExecutor(THREADS) as pool:
        server = grpc.server(pool)
        add_TraceServiceServicer_to_server(receiver, server)
        port = server.add_insecure_port(address)
        receiver.address = f"127.0.0.1:{port}"
        server.start()
        try:
            yield receiver
        finally:
            receiver.answers.set()
            server.stop(None).wait()
