"""One connection of Envoy's: reads a request, has it answered, then reads the next.

Never closes because it is idle (Envoy does, or a reused connection would fail).
Bytes that come while a request is being served abort the connection: their
answer could reach somebody else.
"""

import asyncio

from headrace.runtime.errors import HeadraceError, rejected
from headrace.runtime.ingress.admission import admit, begin
from headrace.runtime.ingress.core import encoding
from headrace.runtime.ingress.core.faults import WireFault
from headrace.runtime.ingress.core.framing import inflated_size
from headrace.runtime.ingress.core.reader import RequestReader
from headrace.runtime.ingress.exchange import Exchange, failure, refusal
from headrace.runtime.ingress.responder import Responder
from headrace.runtime.ingress.service import Service

_HEALTH_PATH = b"/healthz"


class HotConnection(asyncio.Protocol):
    """asyncio's protocol of the hot socket."""

    __slots__ = (
        "_begun", "_exchange", "_is_last", "_keep_alive", "_lingering", "_reader",
        "_service", "_timer", "_transport", "_waiting", "_writable",
    )  # fmt: skip

    def __init__(self, service: Service) -> None:
        limits = service.limits
        self._service = service
        self._reader = RequestReader(limits.max_headers, limits.max_header_bytes, limits.max_message_bytes)
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Event | None = None
        self._waiting = self._lingering = False
        self._keep_alive = True
        self._is_last = False
        self._begun = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a socket's is this
        self._transport.set_write_buffer_limits(self._service.limits.write_buffer_bytes)
        self._service.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._stop_timer()
        self._leave_queue()
        self._drop_exchange()
        self.resume_writing()
        self._reader.close()
        self._service.left(self)

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._exchange is not None and self._exchange.running:
            self.abort()
            return
        if not self._reader.begun:
            self._begun = self._service.clock.monotonic()
        if self._reader.feed(data):
            self._proceed()
        else:
            self.abort()

    # How a request proceeds.

    def _proceed(self) -> None:
        try:
            self._advance()
        except WireFault as fault:
            self._refuse(refusal(fault))
        except HeadraceError as error:
            self._refuse(error)

    def _advance(self) -> None:
        """Takes the request as far as its bytes allow; raises what refuses it."""
        reader = self._reader
        if reader.fault is not None and not reader.headed:
            raise reader.fault
        if self._exchange is None and reader.headed and not self._open():
            return
        if reader.fault is not None:
            raise reader.fault
        exchange = self._exchange
        if exchange is not None and reader.expected is not None:
            if not exchange.reserved and not self._reserve(exchange, reader.expected):
                return
            if reader.complete:
                self._stop_timer()
                self._start(exchange)
                return
        if self._timer is None:
            self._set_timer(self._service.limits.read_timeout_s)

    def _open(self) -> bool:
        """The head is in: begins the call, unless it is answered here and now."""
        reader, service = self._reader, self._service
        self._keep_alive = reader.keep_alive
        if reader.method != b"POST":
            self._answer_plainly(reader.path)
            return False
        values = dict(reader.headers)
        self._exchange = begin(service, self, reader.path, values, self._begun)
        admit(service, self._exchange, values, reader.headers)
        return True

    def _answer_plainly(self, path: bytes) -> None:
        """Answers what is no gRPC: Envoy's health check, or a mistake."""
        self._leave_unread()
        status, phrase = 404, "Not Found"
        if path == _HEALTH_PATH:
            status, phrase = (200, "OK") if self._service.healthy else (503, "Service Unavailable")
        body = b"ok" if status == 200 else phrase.lower().encode("ascii")
        Responder(self).whole(encoding.plain(status, phrase, body, close=self.last()))

    def _reserve(self, exchange: Exchange, size: int) -> bool:
        """Takes the body's bytes from the budget, or stops reading until they are there."""
        if self._waiting:
            return False
        service = self._service
        if service.budget.take(size):
            exchange.reserved = size
            return True
        self._waiting = True
        service.budget.wait(self, size)
        self._transport.pause_reading()
        self._set_timer(service.limits.budget_wait_s)
        return False

    def granted(self) -> None:
        self._waiting = False
        self._stop_timer()
        if self._exchange is not None and self._reader.expected is not None:
            self._exchange.reserved = self._reader.expected
        # Not at once: this runs inside the end of another call, and would nest as deep as the queue.
        self._service.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._exchange is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._proceed()

    def _start(self, exchange: Exchange) -> None:
        """All is in: hands the message to the handler."""
        reader, service = self._reader, self._service
        message, size = reader.message(), None
        if reader.compressed:
            if not exchange.gzip:
                raise WireFault("MESSAGE_INVALID", "a compressed message, but no grpc-encoding")
            size = inflated_size(message, service.limits.max_message_bytes)
            # Never waits: it holds bytes already, and two such could wait for each other.
            if not service.budget.take(size):
                raise _overloaded()
            exchange.reserved += size
        exchange.start(message, size)

    # How a request ends.

    def _refuse(self, error: HeadraceError) -> None:
        """Answers with an error; what has not been read of the request is not waited for."""
        if self._leave_queue():
            self._transport.resume_reading()
        self._leave_unread()
        reason = rejected(error, self._service.codes)
        if self._exchange is not None:
            self._exchange.stop(reason)
        else:
            Responder(self).whole(failure(reason, close=self.last()))

    def _leave_unread(self) -> None:
        """What still comes of this request would be read as the next one: none follows."""
        self._stop_timer()
        if not self._reader.complete:
            self._keep_alive = False
            self._lingering = True

    def last(self) -> bool:
        self._is_last = self._service.draining or not self._keep_alive
        return self._is_last

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def answered(self) -> None:
        self._exchange = None
        if self._lingering:
            # Closing now would reset the connection before Envoy has read the answer.
            self._timer = self._service.loop.call_later(self._service.limits.linger_s, self.abort)
        elif self._is_last:
            self._transport.close()
        else:
            self._reader.reset()

    def abort(self) -> None:
        self._lingering = True
        self._drop_exchange()
        self._transport.abort()

    def close_idle(self) -> bool:
        idle = self._exchange is None and not self._reader.begun
        if idle:
            self._transport.close()
        return idle

    def shut(self) -> None:
        if self._exchange is not None:
            self._refuse(HeadraceError("DRAINING", "the server stops", retry_after_s=1.0))
        else:
            self.abort()

    # Back-pressure and time.

    @property
    def paused(self) -> bool:
        return self._writable is not None

    async def writable(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def _set_timer(self, seconds: float) -> None:
        """Bounds the wait for more of the request, or for the budget; the call's own deadline too."""
        self._stop_timer()
        if self._exchange is not None:
            remaining = self._exchange.call.remaining(self._service.clock.monotonic())
            seconds = seconds if remaining is None else min(seconds, remaining)
        self._timer = self._service.loop.call_later(seconds, self._timed_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_out(self) -> None:
        self._timer = None
        exchange, now = self._exchange, self._service.clock.monotonic()
        if self._waiting and (exchange is None or exchange.call.remaining(now) != 0.0):
            self._refuse(_overloaded())
        else:
            self._refuse(HeadraceError("DEADLINE_EXCEEDED", "the request did not arrive in time"))

    def _leave_queue(self) -> bool:
        waited, self._waiting = self._waiting, False
        if waited:
            self._service.forget(self)
        return waited

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()


def _overloaded() -> HeadraceError:
    return HeadraceError("OVERLOADED", "no memory for the request now", retry_after_s=1.0)
