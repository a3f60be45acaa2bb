"""One admitted call, from its head to its answer: runs the handler, ends exactly once.

However it ends (answer, error, deadline, refusal, closed connection, shut-down),
`_settle` runs once: one answer, one end of the span. The handler's task may
outlive that by the time that it takes to notice; its bytes stay reserved as long.
"""

import asyncio
from contextlib import aclosing
from typing import Protocol

from headrace.runtime.boundary import CANCELLED, parse
from headrace.runtime.errors import (
    HeadraceError,
    Rejection,
    rejected,
    rejection,
    retry_after_header,
)
from headrace.runtime.held import held_to
from headrace.runtime.ingress.core import encoding
from headrace.runtime.ingress.core.faults import WireFault
from headrace.runtime.ingress.core.framing import inflate
from headrace.runtime.ingress.core.head import ACCEPTED
from headrace.runtime.ingress.responder import Link, Responder
from headrace.runtime.ingress.service import Expiring, Service
from headrace.runtime.rpc import Call, Method, serialized

# Envoy retries no answer that carries it: a refusal must not come back as more load.
_DO_NOT_RETRY = ("x-envoy-ratelimited", "true")
_RESOURCE_EXHAUSTED, _UNIMPLEMENTED, _UNAVAILABLE = 8, 12, 14
_DEADLINE = HeadraceError("DEADLINE_EXCEEDED", "the call's deadline has passed")


class Line(Link, Protocol):
    """The connection as a call sees it."""

    def last(self) -> bool:
        """Decides whether the answer whose head is now written is the connection's last."""
        ...

    @property
    def paused(self) -> bool:
        """Whether the peer reads slower than we write."""
        ...

    async def writable(self) -> None:
        """Returns when the peer has caught up."""
        ...


class Exchange:
    """A call, its answer and what it holds of the byte budget."""

    __slots__ = ("_due", "_line", "_responder", "_service", "_task", "call", "gzip", "method", "reserved")

    def __init__(self, service: Service, line: Line, method: Method, call: Call) -> None:
        self._service = service
        self._line = line
        self._responder = Responder(line)
        self._task: asyncio.Task[None] | None = None
        self._due: set[Expiring] | None = None
        self.method = method
        self.call = call
        self.gzip = False
        self.reserved = 0

    @property
    def running(self) -> bool:
        """Whether the handler has been started."""
        return self._task is not None

    def start(self, message: bytes, compressed_size: int | None) -> None:
        """Runs the handler on the message. `compressed_size`: what gzip says it inflates to."""
        now = self._service.clock.monotonic()
        self.call.arrived = now
        remaining = self.call.remaining(now)
        if remaining is not None:
            if remaining <= 0.0:
                self.expire()
                return
            self._due = self._service.expire_in(self, remaining)
        self._task = self._service.loop.create_task(self._run(message, compressed_size))
        self._service.tasks.add(self._task)
        self._task.add_done_callback(self._task_done)

    def expire(self) -> None:
        """The deadline is over: says so at once, then stops the handler."""
        self.stop(rejection(_DEADLINE, self._service.codes))

    def stop(self, reason: Rejection) -> None:
        """Answers with `reason` unless the answer has left, and cancels the handler."""
        if not self._responder.done:
            self._fail(reason)
        self._cancel()

    def abandon(self) -> None:
        """Nobody waits for the answer any more: cancels the handler."""
        if not self._responder.done:
            self._responder.close()
            self._settle(CANCELLED, "")
        self._cancel()

    def _check(self) -> None:
        """What admitted the call, asked again."""
        self._service.access.check(self.call.method, self.call.caller)

    def _revoked(self, error: HeadraceError) -> None:
        self.stop(rejected(error, self._service.codes))

    def _cancel(self) -> None:
        if self._task is None:
            self._release()
        else:
            self._task.cancel()

    async def _run(self, message: bytes, compressed_size: int | None) -> None:
        self.call.request_bytes = len(message)
        try:
            if compressed_size is not None:
                message = inflate(message, compressed_size)
            request = parse(self.method.request_type, message)
            del message
            if self.method.server_streaming:
                with held_to(self._check, self._revoked):
                    await self._stream(request)
            else:
                self._answer(serialized(await self.method.handler(request, self.call)))
        except asyncio.CancelledError as error:
            if not self._responder.done:  # the handler's own doing: its caller waits all the same
                fault = RuntimeError("the handler was cancelled, by nobody who waits for it")
                fault.__cause__ = error
                self._fail(rejected(fault, self._service.codes))
            raise
        except WireFault as fault:
            self._fail(rejected(refusal(fault), self._service.codes))
        except Exception as error:  # noqa: BLE001  # the boundary: every error gets its form here
            self._fail(rejected(error, self._service.codes))

    async def _stream(self, request: object) -> None:
        call, responder, line = self.call, self._responder, self._line
        async with aclosing(self.method.handler(request, call)) as answers:
            async for answer in answers:
                if responder.done:
                    return
                if not responder.begun:
                    responder.begin(encoding.stream_head(call.initial, close=line.last()))
                responder.more(encoding.stream_message(serialized(answer)))
                if line.paused:
                    await line.writable()
        if responder.done:
            return
        end = encoding.stream_end(0, "", b"", call.trailing)
        self._settle(0, "")
        if responder.begun:
            responder.end(end)
        else:
            responder.whole(encoding.stream_head(call.initial, close=line.last()) + end)

    def _answer(self, message: bytes) -> None:
        if self._responder.done:
            return  # the deadline was faster
        call = self.call
        data = encoding.unary(message, call.initial, call.trailing, close=self._line.last())
        self._settle(0, "")
        self._responder.whole(data)

    def _fail(self, reason: Rejection) -> None:
        responder, trailing = self._responder, self.call.trailing
        if responder.done:
            return
        self._settle(reason.code, reason.reason)
        if responder.begun:
            responder.end(
                encoding.stream_end(reason.code, reason.message, reason.details, _sendable(trailing))
            )
        else:
            responder.whole(failure(reason, close=self._line.last(), trailing=trailing))

    def _settle(self, code: int, reason: str) -> None:
        if self._due is not None:
            self._due.discard(self)
        call, service = self.call, self._service
        now = service.clock.monotonic()
        service.telemetry.end(call.method, call.span, code, now - call.arrived)
        service.ends.ended(call, code, reason, now)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        # Not in the task: one that is cancelled before its first step never runs a line of it.
        self._service.tasks.discard(task)
        self._release()

    def _release(self) -> None:
        size, self.reserved = self.reserved, 0
        if size:
            self._service.give(size)


def failure(reason: Rejection, *, close: bool, trailing: encoding.Pairs = ()) -> bytes:
    """A rejection as a header-only answer."""
    extra = list(_sendable(trailing))
    if reason.retry_after_s is not None:
        extra.append(("retry-after", retry_after_header(reason.retry_after_s)))
    if reason.code in (_RESOURCE_EXHAUSTED, _UNAVAILABLE):
        extra.append(_DO_NOT_RETRY)
    if reason.code == _UNIMPLEMENTED:
        extra.append(("grpc-accept-encoding", ACCEPTED))
    return encoding.failure(reason.code, reason.message, reason.details, extra, close=close)


def refusal(fault: WireFault) -> HeadraceError:
    """The core's fault as the error that callers are told."""
    return HeadraceError(fault.reason, fault.message, fault.metadata)


def _sendable(trailing: encoding.Pairs) -> encoding.Pairs:
    """A handler's metadata, none of it when it can't be sent: a failure must reach its caller."""
    try:
        encoding.fields(trailing)
    except encoding.HeaderRefused:
        return ()
    return trailing
