"""HTTP/2 requests that no gRPC library would send, by Node's own HTTP/2 client."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.cache import ROOT
from tests.support.commands import output_of
from tests.support.node import Node

SCRIPT = ROOT / "tests" / "clients" / "scripts" / "http2_requests.js"
GRPC = "application/grpc"


@dataclass(frozen=True)
class Request:
    """One request; a header whose value is a list is sent once for each."""

    path: str
    headers: Mapping[str, str | list[str]] = field(default_factory=dict)
    body: bytes = b""
    trailers: Mapping[str, str] | None = None
    method: str = "POST"


@dataclass(frozen=True)
class Answer:
    """What came back; `grpc_status` is None when no gRPC answer did."""

    headers: Mapping[str, str]
    trailers: Mapping[str, str]
    body: bytes
    error: str
    seconds: float

    @property
    def status(self) -> int:
        return int(self.headers.get(":status", 0))

    @property
    def grpc_status(self) -> int | None:
        found = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if found is None else int(found)


def grpc_frame(message: bytes) -> bytes:
    """The message behind gRPC's five-byte prefix, uncompressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def send(node: Node, address: str, requests: Sequence[Request]) -> list[Answer]:
    """The answers, each on a connection of its own."""
    job = {"url": f"http://{address}", "requests": [_job(request) for request in requests]}
    printed = output_of([node.node, SCRIPT], text=json.dumps(job), timeout_s=120.0)
    return [Answer(**{**answer, "body": base64.b64decode(answer["body"])}) for answer in json.loads(printed)]


def _job(request: Request) -> dict[str, object]:
    headers = {
        ":method": request.method,
        ":path": request.path,
        "content-type": GRPC,
        "te": "trailers",
        **request.headers,
    }
    return {
        "headers": headers,
        "body": base64.b64encode(request.body).decode(),
        "trailers": None if request.trailers is None else dict(request.trailers),
    }
