"""The requests of one stream that are being worked on, and their answers on the way out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest

Answer = Callable[[ModelInferRequest, int], Awaitable[bytes]]
"""Answers the request of this number. What it raises ends the stream."""


class InFlight:
    """At most `most` requests that are read and whose answers have not left."""

    def __init__(self, requests: AsyncIterator[ModelInferRequest], answer: Answer, most: int) -> None:
        self._requests = requests
        self._answer = answer
        self._places = asyncio.Semaphore(most)
        self._ready: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by the places
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._last: asyncio.Future[None] | None = None
        self._reader = asyncio.create_task(self._read())
        self._reader.add_done_callback(self._read_out)

    def stop(self) -> None:
        """Reads no more; what was read is answered."""
        self._reader.cancel()

    async def next(self) -> bytes | None:
        """The next answer; None behind the last. Raises what ended the stream."""
        answer = await self._ready.get()
        if answer is None and self._failure is not None:
            raise self._failure
        return answer

    def sent(self) -> None:
        """An answer has left: there is room for one more request."""
        self._places.release()

    async def close(self) -> None:
        """Cancels all that is under way, and waits until it is gone."""
        running = [self._reader, *self._tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _read(self) -> None:
        number = 0
        async for request in self._requests:
            await self._places.acquire()
            turn = None if request.id else self._turn()
            task = asyncio.create_task(self._run(request, number, turn))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            number += 1

    def _turn(self) -> "tuple[asyncio.Future[None] | None, asyncio.Future[None]]":
        """What the answer to a request without an id waits for, and what waits for it."""
        before, self._last = self._last, asyncio.get_running_loop().create_future()
        return before, self._last

    async def _run(
        self,
        request: ModelInferRequest,
        number: int,
        turn: "tuple[asyncio.Future[None] | None, asyncio.Future[None]] | None",
    ) -> None:
        try:
            answer = await self._answer(request, number)
            if turn is not None and turn[0] is not None:
                await turn[0]
            self._ready.put_nowait(answer)
        finally:
            if turn is not None and not turn[1].done():
                turn[1].set_result(None)

    def _read_out(self, reader: "asyncio.Task[None]") -> None:
        if not reader.cancelled() and reader.exception() is not None:
            self._fail(reader.exception())
        self._end_behind_the_last()

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._fail(task.exception())
        self._end_behind_the_last()

    def _fail(self, error: BaseException | None) -> None:
        self._failure = self._failure or error
        self._ready.put_nowait(None)

    def _end_behind_the_last(self) -> None:
        if self._reader.done() and not self._tasks:
            self._ready.put_nowait(None)
