"""Streams an outbox to metering, batch by batch, each after the one before was committed.

Metering lost, slow or stalled costs nothing here but room in the outbox: the
stream is opened again, and goes on after what metering says it has.

Waits are bounded by asyncio.timeout, never by wait_for: Python 3.11's forgets a
cancellation that comes in the same turn of the loop as its result.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import grpc
import structlog

from headrace.metering.core.batch import Name
from headrace.metering.core.prices import PriceBooks
from headrace.metering.core.rows import Rows
from headrace.metering.outbox import Outbox
from headrace.metering.v1.metering_service_pb2 import RecordRequest, RecordResponse
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from headrace.metering.wire import batch_message, book_from

BATCH_EVENTS = 1024
"""Making a batch holds the event loop for a millisecond."""
LINGER_S = 0.1
"""How long a batch that is not full waits for more."""
BUSY_LINGER_S = 0.5
"""As LINGER_S, behind a batch of BUSY_EVENTS: a commit costs metering as much as a hundred events do."""
BUSY_EVENTS = 64
ANSWER_S = 10.0
"""Metering that has not committed a batch by then is asked again, on another stream."""
RETRY_S = (0.1, 1.0)

log = structlog.get_logger()

Credentials = tuple[tuple[str, str], ...]


class StreamLost(Exception):
    """The stream ended, or no answer came in time; its text says which."""


class RecordStream:
    """One call of Record. Its owner closes it."""

    def __init__(
        self, channel: grpc.aio.Channel, credentials: Credentials, answer_s: float = ANSWER_S
    ) -> None:
        self._answer_s = answer_s
        self.call = MeteringServiceStub(channel).Record(metadata=credentials)  # type: ignore[call-arg]  # the stubs want an iterator; we write

    async def opened(self) -> PriceBooks:
        """The price books, which metering sends before anything else."""
        answer = await self._answer()
        return PriceBooks(map(book_from, answer.price_books))

    async def record(self, source: str, incarnation: str, first: int, oldest: int, batch: Rows, names: list[Name]) -> RecordResponse:  # fmt: skip
        """Sends the events and waits until metering has said what it stored."""
        request = RecordRequest(
            source=source,
            incarnation=incarnation,
            first_sequence=first,
            oldest_sequence=oldest,
            batch=batch_message(batch, names),
        )
        try:
            async with asyncio.timeout(self._answer_s):
                await self.call.write(request)
        except TimeoutError:
            raise StreamLost("metering does not read") from None
        except asyncio.InvalidStateError:
            raise StreamLost(await self._why()) from None
        return await self._answer()

    def close(self) -> None:
        """Ends the call."""
        self.call.cancel()

    async def _answer(self) -> RecordResponse:
        try:
            async with asyncio.timeout(self._answer_s):
                answer = await self.call.read()
        except TimeoutError:
            raise StreamLost("metering does not answer") from None
        if not isinstance(answer, RecordResponse):
            raise StreamLost(await self._why())
        return answer

    async def _why(self) -> str:
        return f"{(await self.call.code()).name}: {await self.call.details()}"


class Sender:
    """Sends what is in the outbox for as long as it runs."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        outbox: Outbox,
        source: str,
        incarnation: str,
        priced: Callable[[PriceBooks], None],
        credentials: Credentials = (),
        *,
        batch_events: int = BATCH_EVENTS,
        linger_s: float = LINGER_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._channel = channel
        self._outbox = outbox
        self._source = source
        self._incarnation = incarnation
        self._priced = priced
        self._credentials = credentials
        self._batch_events = batch_events
        self._linger_s = linger_s
        self._answer_s = answer_s
        self._wakened = asyncio.Event()
        self._hurried = asyncio.Event()
        self._empty = asyncio.Event()
        self._lost = False
        self._busy = False

    def wake(self) -> None:
        """Says that there is something to send."""
        if not self._wakened.is_set():
            self._wakened.set()

    async def run(self) -> None:
        """Until cancelled."""
        pause_s = RETRY_S[0]
        while True:
            before = self._outbox.acknowledged
            try:
                await self._stream()
            except (StreamLost, grpc.aio.AioRpcError, ValueError) as error:
                self._tell(error)
            pause_s = RETRY_S[0] if self._outbox.acknowledged > before else min(2 * pause_s, RETRY_S[1])
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    async def drained(self, within_s: float) -> bool:
        """Sends without waiting for more; whether all was acknowledged in time."""
        self._hurried.set()
        self._wakened.set()
        self._empty.clear()
        if self._outbox.pending:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._empty.wait()
        return not self._outbox.pending

    async def _stream(self) -> None:
        stream = RecordStream(self._channel, self._credentials, self._answer_s)
        try:
            self._priced(await stream.opened())
            stream.call.add_done_callback(lambda _: self._wakened.set())
            if self._lost:
                log.info("metering is back", pending=self._outbox.pending)
            self._lost = False
            while not stream.call.done():
                if self._outbox.pending:
                    await self._send(stream)
                else:
                    self._wakened.clear()
                    await self._wakened.wait()
                    await self._gathered()
        finally:
            stream.close()

    async def _send(self, stream: RecordStream) -> None:
        outbox = self._outbox
        first = outbox.acknowledged + 1
        batch = outbox.read(first, self._batch_events)
        answer = await stream.record(self._source, self._incarnation, first, first, batch, outbox.names)
        if answer.price_books:
            self._priced(PriceBooks(map(book_from, answer.price_books)))
        if answer.acknowledged_sequence < first:
            raise StreamLost(f"metering stored nothing of the batch at {first}")
        outbox.acknowledge(answer.acknowledged_sequence)
        self._busy = len(batch) >= BUSY_EVENTS
        if not outbox.pending:
            self._empty.set()
        elif outbox.pending < self._batch_events:
            await self._gathered()

    async def _gathered(self) -> None:
        """Waits for a larger batch, a little."""
        if self._outbox.pending < self._batch_events:
            with suppress(TimeoutError):
                async with asyncio.timeout(BUSY_LINGER_S if self._busy else self._linger_s):
                    await self._hurried.wait()

    def _tell(self, error: Exception) -> None:
        """Once for each time that metering is lost."""
        if not self._lost:
            why = error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
            log.warning("metering is lost, usage waits in the outbox", why=why, pending=self._outbox.pending)
        self._lost = True
