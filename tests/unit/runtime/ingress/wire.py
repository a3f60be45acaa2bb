"""A hot ingress on a real socket, and a client that writes bytes as it likes."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.runtime.access import INFER, Access
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import RUNTIME_CODES
from headrace.runtime.ingress.ingress import HotIngress
from headrace.runtime.ingress.limits import IngressLimits
from headrace.runtime.revocation import NO_REVOCATIONS, Revocations
from headrace.runtime.rpc import Call, Method
from headrace.runtime.telemetry import quiet

UNARY, STREAM = "/a.B/Unary", "/a.B/Stream"
IDENTITY = "x-tenant-id: t\r\nx-headrace-scopes: infer\r\n"
TRACED = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
LIMITS = IngressLimits(
    max_message_bytes=1000, budget_bytes=2000, max_header_bytes=2000, budget_wait_s=60, read_timeout_s=60
)

Answer = ModelInferResponse | bytes
Handler = Callable[[ModelInferRequest, Call], Awaitable[Answer]]
Stream = Callable[[ModelInferRequest, Call], AsyncIterator[Answer]]


@dataclass
class Reply:
    """An answer as it stood on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def grpc_status(self) -> int:
        return int({**self.headers, **self.trailers}["grpc-status"])

    @property
    def reason(self) -> str:
        """The ErrorInfo's reason of an error."""
        text = {**self.headers, **self.trailers}["grpc-status-details-bin"]
        status = Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))
        info = ErrorInfo()
        assert status.details[0].Unpack(info)
        return info.reason

    @property
    def messages(self) -> list[ModelInferResponse]:
        found, rest = [], self.body
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            found.append(ModelInferResponse.FromString(rest[5 : 5 + size]))
            rest = rest[5 + size :]
        return found


class Client:
    """One connection, HTTP by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def call(self, request: bytes) -> Reply:
        self.send(request)
        return await self.reply()

    async def reply(self) -> Reply:
        status = int((await self.reader.readline()).split()[1])
        headers = await self._headers()
        if "content-length" in headers:
            return Reply(status, headers, await self.reader.readexactly(int(headers["content-length"])))
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        return Reply(status, headers, body, await self._headers())

    async def ended(self) -> bytes:
        """What came until the server ended the connection."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    async def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while (line := await self.reader.readline()) != b"\r\n":
            assert line.endswith(b"\r\n")
            name, _, value = line[:-2].decode().partition(": ")
            assert name not in found
            found[name] = value
        return found


@dataclass
class Bench:
    """A listening ingress and its spans."""

    ingress: HotIngress
    path: Path
    spans: InMemorySpanExporter
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(self.path))
        self.clients.append(client)
        return client

    def codes(self) -> list[object]:
        """The outcome of each span that has ended."""
        return [
            (span.attributes or {})["rpc.response.status_code"] for span in self.spans.get_finished_spans()
        ]


@asynccontextmanager
async def serving(
    folder: Path,
    unary: Handler,
    stream: Stream | None = None,
    limits: IngressLimits = LIMITS,
    revocations: Revocations = NO_REVOCATIONS,
) -> AsyncIterator[Bench]:
    """An ingress with one unary and, maybe, one streaming method, on a real socket."""
    telemetry, spans = quiet()
    methods = [Method(UNARY, ModelInferRequest, unary)]
    if stream is not None:
        methods.append(Method(STREAM, ModelInferRequest, stream, server_streaming=True))
    ingress = HotIngress(
        methods,
        access=Access({UNARY: INFER, STREAM: INFER}, revocations),
        codes=RUNTIME_CODES,
        telemetry=telemetry,
        clock=SystemClock(),
        limits=limits,
    )
    bench = Bench(ingress, folder / "hot.sock", spans)
    await ingress.listen(bench.path)
    try:
        yield bench
        # Each call is counted as often as its span has ended: once.
        metrics = telemetry.registry.collect()
        samples = [sample for metric in metrics for sample in metric.samples]
        counted = sum(sample.value for sample in samples if sample.name.endswith("duration_seconds_count"))
        assert counted == len(spans.get_finished_spans())
    finally:
        await ingress.close(0)
        for client in bench.clients:
            client.writer.transport.abort()
        await asyncio.sleep(0)


async def echo(request: ModelInferRequest, call: Call) -> Answer:
    """The request's id, for whoever asked."""
    return ModelInferResponse(id=request.id, model_name=call.caller.tenant)


def frame(message: bytes, flag: int = 0) -> bytes:
    """The gRPC frame of a message."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


def message(name: str = "", size: int = 0) -> bytes:
    """A request message of `size` bytes at least."""
    return ModelInferRequest(id=name, raw_input_contents=[bytes(size)] if size else []).SerializeToString()


def head(path: str = UNARY, more: str = "", identity: str = IDENTITY) -> bytes:
    """A request's head, up to the header of its length."""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n{identity}{more}".encode()


def request(
    name: str = "", path: str = UNARY, more: str = "", identity: str = IDENTITY, size: int = 0
) -> bytes:
    """A whole request."""
    body = frame(message(name, size))
    return head(path, more, identity) + b"content-length: %d\r\n\r\n" % len(body) + body
