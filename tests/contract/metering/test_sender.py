"""What a sender does with a metering that does not do what it should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from headrace.metering.core.prices import DEFAULT_BOOK, PriceBooks
from headrace.metering.log import UsageLog
from headrace.metering.outbox import Outbox
from headrace.metering.sender import Sender
from headrace.metering.v1.metering_service_pb2 import RecordRequest, RecordResponse
from headrace.metering.v1.metering_service_pb2_grpc import (
    MeteringServiceServicer,
    add_MeteringServiceServicer_to_server,
)
from headrace.metering.wire import book_message
from headrace.runtime.channels import open_channel
from tests.fakes.metering import event


class OddMetering(MeteringServiceServicer):
    """Behaves oddly on its first stream, and as it should on later ones."""

    def __init__(self, oddity: str) -> None:
        self._oddity = oddity
        self.requests: list[RecordRequest] = []

    async def Record(self, request_iterator: Any, context: Any) -> AsyncIterator[RecordResponse]:
        oddity, self._oddity = self._oddity, ""
        if oddity == "mute":
            await asyncio.Event().wait()
        yield RecordResponse(price_books=[book_message(DEFAULT_BOOK)])
        async for request in request_iterator:
            self.requests.append(request)
            if oddity == "stalls":
                await asyncio.Event().wait()
            if oddity == "ends":
                return
            if oddity == "stores nothing":
                yield RecordResponse(acknowledged_sequence=request.first_sequence - 1)
                continue
            if oddity == "refuses":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "no")
            yield RecordResponse(acknowledged_sequence=request.first_sequence + len(request.batch.kinds) - 1)

    async def QueryCost(self, request: Any, context: Any) -> Any:
        """Declared by the contract; a sender never asks."""

    async def GetPriceBook(self, request: Any, context: Any) -> Any:
        """Likewise."""

    async def GetEdgeSummary(self, request: Any, context: Any) -> Any:
        """Likewise."""


@asynccontextmanager
async def serving(servicer: OddMetering, socket: Path) -> AsyncIterator[str]:
    """The servicer on a Unix socket."""
    server = grpc.aio.server()
    add_MeteringServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    yield f"unix:{socket}"
    await server.stop(0)


@pytest.mark.parametrize("oddity", ["", "mute", "stalls", "ends", "stores nothing", "refuses"])
async def test_everything_is_sent_in_the_end(oddity: str, tmp_path: Path) -> None:
    """A stream that is mute, stalled, ended or refused is opened again, and goes on where metering is."""
    servicer = OddMetering(oddity)
    outbox = Outbox(tmp_path, "r", "1", max_events=1)
    for _ in range(250):
        outbox.reserve()
        outbox.append(event(), 1)
    priced: list[PriceBooks] = []
    async with serving(servicer, tmp_path / "m.sock") as target, open_channel(target) as channel:
        sender = Sender(
            channel, outbox, "r", "1", priced.append, batch_events=100, linger_s=0.01, answer_s=0.2
        )
        running = asyncio.create_task(sender.run())
        assert await sender.drained(10.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    outbox.close()
    assert priced[-1].all == (DEFAULT_BOOK,)
    firsts = [request.first_sequence for request in servicer.requests]
    repeats = 1 if oddity in ("stalls", "ends", "stores nothing", "refuses") else 0
    assert firsts == [1] * repeats + [1, 101, 201]


async def test_nothing_that_was_told_waits_for_the_disk_in_sync_mode(tmp_path: Path) -> None:
    """When `record` returns there is nothing left to flush; otherwise there is."""
    for sync in (True, False):
        outbox = Outbox(tmp_path, "r", str(sync), max_events=1)
        usage = UsageLog(outbox, sync=sync)
        assert usage.reserve()
        usage.record(event())
        job = outbox.flush()
        assert (job is None) == sync
        if job:
            job()
        outbox.close()
