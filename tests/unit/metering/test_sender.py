"""The stream of a sender."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace.metering.core.prices import DEFAULT_BOOK
from headrace.metering.sender import RecordStream
from headrace.metering.v1.metering_service_pb2 import RecordResponse
from headrace.metering.wire import book_message


class FakeChannel:
    """A channel with one call, whose answer is the test's."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[RecordResponse] = asyncio.get_running_loop().create_future()

    def stream_stream(self, *_: Any, **__: Any) -> Callable[..., "FakeChannel"]:
        return lambda **_: self

    unary_unary = stream_stream

    async def read(self) -> RecordResponse:
        return await self.answer


async def test_a_cancellation_is_never_forgotten() -> None:
    """Not even one that comes with the answer: by wait_for it was, and the process would not end."""
    channel = FakeChannel()
    stream = RecordStream(channel, ())  # type: ignore[arg-type]  # what a stream needs of a channel
    opening = asyncio.create_task(stream.opened())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    channel.answer.set_result(RecordResponse(price_books=[book_message(DEFAULT_BOOK)]))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
