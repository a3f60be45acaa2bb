"""Where a call on the grpc.aio server enters and leaves Headrace.

One place, for unary and streaming methods alike: who calls and whether they
may, the request's parsing, the server span, and every error's form on the wire.
The hot ingress is the same boundary for HTTP/1.1.
"""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Protocol, cast

import grpc
from google.protobuf.message import DecodeError, Message

from headrace.runtime.access import (
    Access,
    TokenVerifier,
    caller_from_headers,
    unauthenticated,
)
from headrace.runtime.clock import Clock
from headrace.runtime.endings import UNRECORDED, CallEnds
from headrace.runtime.errors import (
    CodeTable,
    HeadraceError,
    Rejection,
    code_number,
    rejected,
)
from headrace.runtime.held import held_to
from headrace.runtime.rpc import ANONYMOUS, Call, Caller, Method, serialized
from headrace.runtime.telemetry import Telemetry

Context = grpc.aio.ServicerContext[Any, Any]
Headers = list[tuple[str, str | bytes]]

CODES = {code_number(code): code for code in grpc.StatusCode}
CANCELLED = code_number(grpc.StatusCode.CANCELLED)


class Identity(Protocol):
    """Tells who calls."""

    def caller(self, peer: str, headers: Headers) -> Caller:
        """The caller at `peer` (gRPC's peer string); raises UNAUTHENTICATED."""
        ...


class TokenIdentity:
    """TCP: a verified bearer token. The Unix socket: what `local` says.

    `local` is None where the socket's peer is the gateway, whose identity
    headers are believed; otherwise the caller that every peer of the socket is.
    """

    def __init__(self, verifier: TokenVerifier, local: Caller | None = None) -> None:
        self._verifier = verifier
        self._local = local

    def caller(self, peer: str, headers: Headers) -> Caller:
        texts = [(name, value) for name, value in headers if isinstance(value, str)]
        if peer.startswith("unix:"):
            return self._local or caller_from_headers(texts)
        tokens = [value for name, value in texts if name == "authorization"]
        if len(tokens) > 1:
            raise HeadraceError(
                "HEADER_INVALID",
                "header authorization occurs twice",
                {"header": "authorization"},
            )
        if not tokens:
            raise unauthenticated("no bearer token", "missing")
        return self._verifier.verify(tokens[0])


def parse(request_type: type[Message], data: bytes | memoryview) -> Message:
    """The request; raises MESSAGE_INVALID."""
    try:
        return request_type.FromString(data)  # type: ignore[arg-type]  # upb takes any buffer
    except DecodeError:
        name = request_type.DESCRIPTOR.full_name
        raise HeadraceError("MESSAGE_INVALID", f"the request is no {name}", {"message": name}) from None


class Boundary:
    """Binds methods to the grpc.aio server."""

    def __init__(
        self,
        *,
        identity: Identity,
        access: Access,
        codes: CodeTable,
        telemetry: Telemetry,
        clock: Clock,
        ends: CallEnds = UNRECORDED,
    ) -> None:
        self._identity = identity
        self._access = access
        self._codes = codes
        self._telemetry = telemetry
        self._clock = clock
        self._ends = ends

    def bind(self, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        """The method as the server wants it: bytes in, bytes out."""
        if method.client_streaming and method.server_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streamed(method))
        if method.client_streaming:
            return grpc.stream_unary_rpc_method_handler(self._unary(method))
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streamed(method))
        return grpc.unary_unary_rpc_method_handler(self._unary(method))

    def _unary(self, method: Method) -> Callable[[Any, Context], Awaitable[bytes]]:
        async def handle(request: Any, context: Context) -> bytes:
            with self._observed(method, context) as (call, outcome):
                try:
                    self._admit(call, context)
                    if method.client_streaming:
                        with self._held(call, outcome):
                            answer = serialized(await method.handler(_request(method, request), call))
                    else:
                        call.request_bytes = len(request)
                        answer = serialized(await method.handler(_request(method, request), call))
                    await _send_initial(call, context)
                    context.set_trailing_metadata(_sent(call.trailing))
                    return answer
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the boundary: every error gets its form here
                    rejection = rejected(_fault_of(error, outcome), self._codes)
                    outcome.code, outcome.reason = rejection.code, rejection.reason
                    return await _abort(context, rejection, call)

        return handle

    def _streamed(self, method: Method) -> Callable[[Any, Context], AsyncIterator[bytes]]:
        async def handle(request: Any, context: Context) -> AsyncIterator[bytes]:
            with self._observed(method, context) as (call, outcome):
                try:
                    self._admit(call, context)
                    answers = method.handler(_request(method, request), call)
                    # Closed here and now when the caller leaves, not when the collector finds it.
                    async with aclosing(answers):
                        with self._held(call, outcome):
                            async for answer in answers:
                                await _send_initial(call, context)
                                yield serialized(answer)
                    context.set_trailing_metadata(_sent(call.trailing))
                except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the boundary: every error gets its form here
                    rejection = rejected(_fault_of(error, outcome), self._codes)
                    outcome.code, outcome.reason = rejection.code, rejection.reason
                    await _abort(context, rejection, call)

        return handle

    @contextmanager
    def _observed(self, method: Method, context: Context) -> Iterator[tuple[Call, "_Outcome"]]:
        now = self._clock.monotonic()
        metadata = dict(context.invocation_metadata() or ())
        traceparent = metadata.get("traceparent")
        parent = traceparent if isinstance(traceparent, str) else None
        span, trace_id = self._telemetry.begin(method.path, parent)
        remaining = cast("float | None", context.time_remaining())  # None without a deadline
        deadline = None if remaining is None else now + remaining
        call = Call(
            method.path,
            metadata,
            ANONYMOUS,
            now,
            deadline,
            span=span,
            trace_id=trace_id,
            peer=context.peer(),
        )
        outcome = _Outcome()
        try:
            yield call, outcome
        except asyncio.CancelledError:
            outcome.code = CANCELLED
            raise
        finally:
            ended = self._clock.monotonic()
            self._telemetry.end(method.path, span, outcome.code, ended - now)
            self._ends.ended(call, outcome.code, outcome.reason, ended)

    @contextmanager
    def _held(self, call: Call, outcome: "_Outcome") -> Iterator[None]:
        """A stream may last: it ends when what admitted it does not hold any more."""
        task = asyncio.current_task()
        assert task is not None

        def end(error: HeadraceError) -> None:
            outcome.revoked = error
            task.cancel()

        with held_to(lambda: self._access.check(call.method, call.caller), end):
            yield

    def _admit(self, call: Call, context: Context) -> None:
        if not self._access.is_open(call.method):
            headers = list(context.invocation_metadata() or ())
            call.caller = self._identity.caller(call.peer, headers)
            self._access.check(call.method, call.caller)


def _fault_of(error: BaseException, outcome: "_Outcome") -> Exception:
    """The error to answer with; a cancellation from outside is raised on.

    A handler that raises CancelledError by itself is still waited for: grpc.aio
    would never answer its caller.
    """
    if isinstance(error, Exception):
        return error
    task = asyncio.current_task()
    if task is not None and outcome.revoked is not None:
        task.uncancel()
        return outcome.revoked
    if task is None or task.cancelling():
        raise error
    fault = RuntimeError("the handler was cancelled, by nobody who waits for it")
    fault.__cause__ = error
    return fault


class _Outcome:
    """How a call ended: gRPC's code number, and the error's reason. `revoked`: why it may not go on."""

    __slots__ = ("code", "reason", "revoked")

    def __init__(self) -> None:
        self.code = 0
        self.revoked: HeadraceError | None = None
        self.reason = ""


def _request(method: Method, request: Any) -> Any:
    if not method.client_streaming:
        return parse(method.request_type, request)

    async def messages() -> AsyncIterator[Message]:
        async for data in request:
            yield parse(method.request_type, data)

    return messages()


async def _send_initial(call: Call, context: Context) -> None:
    if call.initial:
        await context.send_initial_metadata(_sent(call.initial))
        call.initial = []


def _sent(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str | bytes], ...]:
    """A handler's metadata as grpc.aio takes it: it puts `-bin` values into base64 by itself."""
    return tuple((name, _bytes(value) if name.endswith("-bin") else value) for name, value in pairs)


def _bytes(base64: str) -> bytes:
    return b64decode(base64 + "=" * (-len(base64) % 4))


async def _abort(context: Context, rejection: Rejection, call: Call) -> bytes:
    trailing = (*_sent(call.trailing), ("grpc-status-details-bin", rejection.details))
    await context.abort(CODES[rejection.code], rejection.message, trailing)
    raise AssertionError("abort returned")
