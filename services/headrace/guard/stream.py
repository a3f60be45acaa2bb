"""A process's end of the lease stream: sends what its listener has to say, hands it what the guard says.

Never in a request's way: the stream is opened again for as long as the process
lives, and without it the listener decides by itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

import grpc
import structlog

from headrace.guard.core.frames import GuardFrame, HolderFrame
from headrace.guard.v1.guard_service_pb2 import LeaseRequest
from headrace.guard.v1.guard_service_pb2_grpc import GuardServiceStub
from headrace.guard.wire import guard_frame, holder_message

RECONNECT_S = 0.2
FIRST_FRAME_S = 2.0
"""A guard that takes a stream and says nothing for so long is stalled."""

FAREWELL_S = 0.5

log = structlog.get_logger()


class Listener(Protocol):
    """Whom the stream is for."""

    @property
    def ttl_s(self) -> float:
        """A guard that is silent for so long is lost."""
        ...

    def hello(self) -> HolderFrame:
        """The first frame of a stream."""
        ...

    def take(self, frame: GuardFrame) -> None:
        """A frame of the guard came."""
        ...

    def outgoing(self) -> HolderFrame | None:
        """What there is to send now."""
        ...

    def lose(self) -> None:
        """The stream broke, or the guard is silent."""
        ...


class LeaseStream:
    """Keeps one stream to the guard open, whatever happens to it."""

    def __init__(self, channel: grpc.aio.Channel, listener: Listener, target: str) -> None:
        self._lease = GuardServiceStub(channel).Lease
        self._listener = listener
        self._target = target
        self._waiting = asyncio.Event()
        self._reached = True
        self._closing = False
        self._ended = asyncio.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._waiting.set()

    async def close(self) -> None:
        """Sends what there is to send, and ends the stream in order if the guard lets it."""
        self._closing = True
        self._waiting.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._ended.wait()

    async def run(self) -> None:
        """Until it was closed, or is cancelled."""
        while not self._closing:
            try:
                await self._once()
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                self._tell(reached=False, why=_why(error))
            finally:
                self._listener.lose()
            if not self._closing:
                await asyncio.sleep(RECONNECT_S)
        self._ended.set()

    async def _once(self) -> None:
        call = self._lease(self._requests())
        try:
            answers = aiter(call)
            wait_s = FIRST_FRAME_S
            while True:
                async with asyncio.timeout(wait_s):
                    message = await anext(answers, None)
                if message is None:
                    return
                self._tell(reached=True)
                self._listener.take(guard_frame(message))
                wait_s = self._listener.ttl_s
        finally:
            call.cancel()

    async def _requests(self) -> AsyncIterator[LeaseRequest]:
        yield holder_message(self._listener.hello())
        while True:
            if (frame := self._listener.outgoing()) is not None:
                yield holder_message(frame)
            if self._closing:
                return
            await self._waiting.wait()
            self._waiting.clear()

    def _tell(self, *, reached: bool, why: str = "") -> None:
        if reached is self._reached:
            return
        self._reached = reached
        if reached:
            log.info("the guard is back", target=self._target)
        else:
            log.warning("the guard is out of reach", target=self._target, error=why)


def _why(error: Exception) -> str:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
