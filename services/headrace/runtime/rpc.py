"""A call and a method, whichever transport carries them.

A servicer is a plain class whose methods are named as in its contract and take
`(request, call)`. `methods_of` reads the contract's descriptor and binds them;
the same methods are then served by the grpc.aio server (`server.py`) and, where
they are unary or server-streaming, by the hot ingress (`ingress/`). A method of
the contract that the servicer lacks answers UNIMPLEMENTED.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.trace import INVALID_SPAN, Span

Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. Verified by the gateway (Unix socket) or by the service (TCP)."""

    tenant: str
    scopes: frozenset[str]
    token_id: str = ""


ANONYMOUS = Caller("", frozenset())


@dataclass(slots=True, eq=False)
class Call:
    """What a handler knows of the call besides its request.

    `metadata` has lower-case names and the last value of each; values of
    `-bin` names are decoded. `deadline` is on the monotonic clock, None when
    the client set none; `arrived` is the monotonic time at which the request
    was read in full (hot ingress) or handed over (grpc.aio). `initial` and
    `trailing` are sent with the answer; a handler appends to them. `initial`
    leaves before the first answer. Both hold texts; the value of a `-bin` name
    is its bytes in base64. `span` is the call's server span, one that
    records nothing when the trace is not sampled; `trace_id` is 32 lower-case
    hexadecimal digits, empty without a trace. `request_bytes` is the size of a
    unary call's message: as it came (hot ingress), or inflated (grpc.aio).
    `progress` is what its service notes of it, for whom `endings.CallEnds` tells. `peer`
    is who is at the other end of the connection in gRPC's words, empty on the hot ingress.
    """

    method: str
    metadata: Mapping[str, str | bytes]
    caller: Caller
    arrived: float
    deadline: float | None = None
    transport: Literal["h1", "h2"] = "h2"
    initial: list[tuple[str, str]] = field(default_factory=list)
    trailing: list[tuple[str, str]] = field(default_factory=list)
    span: Span = INVALID_SPAN
    trace_id: str = ""
    request_bytes: int = 0
    progress: Any = None
    peer: str = ""

    def remaining(self, now: float) -> float | None:
        """Seconds until the deadline, never negative; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - now)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of a contract, bound to its handler.

    Unary: `async handler(request, call) -> Message | bytes`, where bytes are
    an answer that is serialised already. Server-streaming: an async generator.
    With client streaming, `request` is an async iterator.
    """

    path: str
    request_type: type[Message]
    handler: Callable[[Any, Call], Any]
    client_streaming: bool = False
    server_streaming: bool = False


def methods_of(service: ServiceDescriptor, servicer: object) -> list[Method]:
    """The contract's methods that `servicer` has, in the contract's order."""
    return [
        Method(
            f"/{service.full_name}/{method.name}",
            GetMessageClass(method.input_type),
            getattr(servicer, method.name),
            method.client_streaming,
            method.server_streaming,
        )
        for method in service.methods
        if hasattr(servicer, method.name)
    ]


def serialized(answer: Message | bytes) -> bytes:
    """The answer's bytes; bytes are an answer that is serialised already."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
