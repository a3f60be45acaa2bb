"""Where a process writes down what its requests used, and how that reaches metering."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import Gauge

from headrace.metering.core.charges import cost_of
from headrace.metering.core.prices import PriceBooks
from headrace.metering.outbox import Outbox
from headrace.metering.sender import Credentials, Sender
from headrace.metering.usage import Cost, UsageEvent
from headrace.runtime.channels import open_channel
from headrace.runtime.telemetry import Telemetry

MAX_EVENTS = 2_400_000
"""256 MiB: four minutes of 10,000 requests/s without metering."""
FLUSH_S = 5.0
SYNC_S = 0.05
"""What a power failure may lose."""


class UsageLog:
    """One process's record of what it used. For the event loop's thread.

    A request that may be billed reserves room first; its room is then used by
    `record` or given back by `cancel`, exactly once.
    """

    def __init__(self, outbox: Outbox, *, sync: bool) -> None:
        self._outbox = outbox
        self._sync = sync
        self._books: PriceBooks | None = None
        self._written = asyncio.Event()

    def reserve(self, *, spare: bool = False) -> bool:
        """Room for one record; False when the outbox is full and nothing billable may be done.

        `spare`: the work has been done already, so that refusing it would lose it.
        """
        return self._outbox.reserve(spare=spare)

    def cancel(self) -> None:
        """Gives the room back: there is nothing to bill."""
        self._outbox.release()

    def record(self, event: UsageEvent) -> Cost | None:
        """Writes the event down, in room that was reserved, and says what its tenant pays.

        None while no price book is known. When it returns, the event survives
        the end of this process; a power failure too after 50 ms, or at once
        where the log is in `sync` mode. The ledger charges what is told here,
        unless it finds the billing key used before.
        """
        book = self._books.at(event.time_ms) if self._books else None
        cost = cost_of(event, book) if book else None
        self._outbox.append(event, book.version if book else 0)
        if self._sync and (job := self._outbox.flush()):
            job()
        if not self._written.is_set():
            self._written.set()
        return cost

    @property
    def pending(self) -> int:
        """Events that metering has not confirmed."""
        return self._outbox.pending

    def priced(self, books: PriceBooks) -> None:
        """Takes the price books that hold from now on."""
        self._books = books

    async def keep_written(self, sender: Sender, interval_s: float = SYNC_S) -> None:
        """Brings what is written to the disk, at most so often, and tells the sender. Until cancelled."""
        while True:
            await self._written.wait()
            self._written.clear()
            sender.wake()
            if job := self._outbox.flush():
                await asyncio.to_thread(job)
            await asyncio.sleep(interval_s)


class Unmetered:
    """What stands in for a log where usage is not recorded."""

    pending = 0

    def reserve(self, *, spare: bool = False) -> bool:  # noqa: ARG002 - the signature of what it stands in for
        """There is always room for nothing."""
        return True

    def cancel(self) -> None:
        """Nothing was set aside."""

    def record(self, event: UsageEvent) -> Cost | None:  # noqa: ARG002 - the signature of what it stands in for
        """Forgets the event."""
        return None


@asynccontextmanager
async def metering_usage(
    target: str,
    outbox_root: Path,
    source: str,
    telemetry: Telemetry,
    *,
    credentials: Credentials = (),
    max_events: int = MAX_EVENTS,
    sync: bool = False,
    flush_s: float = FLUSH_S,
) -> AsyncIterator[UsageLog]:
    """A log whose events go to metering at `target`, which need not be there.

    `source` names the recording process, and the next one that does its work:
    letters, digits, `.`, `_` and `-`. On exit what is pending has `flush_s` to
    be acknowledged; the rest stays in `outbox_root` for the sweeper. Raises
    OSError when the outbox can't be made.
    """
    incarnation = uuid.uuid4().hex
    outbox = Outbox(outbox_root, source, incarnation, max_events=max_events)
    usage = UsageLog(outbox, sync=sync)
    _observe(outbox, telemetry)
    try:
        async with open_channel(target) as channel, asyncio.TaskGroup() as tasks:
            sender = Sender(channel, outbox, source, incarnation, usage.priced, credentials)
            loops = [tasks.create_task(sender.run()), tasks.create_task(usage.keep_written(sender))]
            try:
                yield usage
            finally:
                await sender.drained(flush_s)
                for loop in loops:
                    loop.cancel()
    finally:
        outbox.close()


def _observe(outbox: Outbox, telemetry: Telemetry) -> None:
    pending = Gauge(
        "headrace_usage_pending_events",
        "Events in this process's outbox that metering has not confirmed.",
        registry=telemetry.registry,
    )
    pending.set_function(lambda: outbox.pending)
