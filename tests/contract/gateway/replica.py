"""What stands behind the gateway in these tests: it keeps what it was sent.

`Replica` speaks gRPC over HTTP/1.1 on a Unix socket, as the hot ingress does,
written apart from it: a fault of the ingress can't hide one of the gateway.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
from google.api.httpbody_pb2 import HttpBody
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

T = TypeVar("T")

REST = "/headrace.inference.v1.RestService/"


@dataclass(frozen=True)
class Seen:
    """A request as it came through the gateway."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[str, ...]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def message(self) -> bytes:
        return self.body[5:]


@dataclass(frozen=True)
class Reply:
    """What the replica answers; without a message it is an error, header-only."""

    message: bytes | None = b""
    status: int = 0
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0


def echo(seen: Seen) -> Reply:
    """REST gets JSON, gRPC its own message back."""
    if seen.path.startswith(REST):
        body = HttpBody(content_type="application/json", data=b'{"live":true}')
        return Reply(body.SerializeToString())
    return Reply(seen.message)


class Replica:
    """The hot ingress's stand-in; `reply` may be exchanged between calls."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.reply: Callable[[Seen], Reply] = echo
        self.healthy = True
        self.drop_next = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                seen = await _request(reader)
                if seen.path == "/healthz":
                    writer.write(
                        b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % (200 if self.healthy else 503)
                    )
                    continue
                self.seen.append(seen)
                if self.drop_next > 0:
                    self.drop_next -= 1
                    return
                reply = self.reply(seen)
                await asyncio.sleep(reply.after_s)
                writer.write(_encoded(reply))
                await writer.drain()
        except (ConnectionError, EOFError, asyncio.CancelledError):
            pass  # the gateway gave the call up, or the test ends
        finally:
            writer.close()


class Grpc:
    """The replica's HTTP/2 side and insight, in one server each."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[tuple[str, str]]]] = []
        self.spans: list[dict[str, str]] = []

    def replica(self, path: Path) -> grpc.Server:
        servicer = health.HealthServicer()
        for name in ("", "inference.GRPCInferenceService"):
            servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        server = _server(path, _Recorder(self))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.start()
        return server

    def insight(self, path: Path) -> grpc.Server:
        server = _server(path, _Collector(self))
        server.start()
        return server


class _Recorder(grpc.GenericRpcHandler):
    def __init__(self, owner: Grpc) -> None:
        self._owner = owner

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if not call.method.startswith(("/inference.", "/grpc.reflection", REST)):
            return None
        self._owner.seen.append((call.method, [(key, str(value)) for key, value in call.invocation_metadata]))
        if call.method.startswith(REST):
            body = HttpBody(content_type="application/json", data=b'{"live":true}').SerializeToString()
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: body)
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: request)


class _Collector(grpc.GenericRpcHandler):
    def __init__(self, owner: Grpc) -> None:
        self._owner = owner

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        def export(request: bytes, _context: grpc.ServicerContext) -> bytes:
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans:
                names = {item.key: item.value.string_value for item in resource.resource.attributes}
                self._owner.spans.extend(
                    {
                        "service": names.get("service.name", ""),
                        "trace_id": span.trace_id.hex(),
                        "span_id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                    }
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
            return b""

        return grpc.unary_unary_rpc_method_handler(export)


class Loop:
    """An event loop in a thread of its own, for servers under synchronous tests."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


def _server(path: Path, handler: grpc.GenericRpcHandler) -> grpc.Server:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    server.add_insecure_port(f"unix:{path}")
    return server


async def _request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")[:-4].split("\r\n")
    headers = tuple(
        (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:])
    )
    found = dict(headers)
    chunks, trailers = [], []
    if "chunked" in found.get("transfer-encoding", ""):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            chunks.append((await reader.readexactly(size + 2))[:-2])
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            trailers.append(line.decode("latin-1").strip())
    elif "content-length" in found:
        chunks.append(await reader.readexactly(int(found["content-length"])))
    return Seen(head[0].split(" ")[1], headers, b"".join(chunks), tuple(trailers))


def _encoded(reply: Reply) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n{extra}"
    status = f"grpc-status: {reply.status}\r\n" + (f"grpc-message: {reply.text}\r\n" if reply.text else "")
    if reply.message is None:
        return f"{head}{status}content-length: 0\r\n\r\n".encode()
    frame = b"\0" + len(reply.message).to_bytes(4, "big") + reply.message
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(frame), frame)
    return f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunk + f"{status}\r\n".encode()
