"""What the gateways are told of the replicas, and when they have taken it.

Decided by `core.listing`; written down before it is told, so that a scaling
that is started again begins with it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import structlog

from headrace.runtime.clock import Clock
from headrace.scaling.core.listing import Listing
from headrace.scaling.fleet import Replica
from headrace.scaling.kept import Told
from headrace.scaling.metrics import EndpointMetrics
from headrace.scaling.streams import Streams

ACKNOWLEDGE_S = 10.0
"""How long gateways are given to acknowledge a list."""

log = structlog.get_logger()


class Keeper(Protocol):
    """Keeps what was told."""

    def save(self, told: Told) -> None:
        """Raises OSError."""
        ...


class Directory:
    """The list, kept current by `run`."""

    def __init__(
        self,
        listing: Listing,
        streams: Streams,
        keeper: Keeper,
        clock: Clock,
        metrics: EndpointMetrics,
        *,
        acknowledge_s: float = ACKNOWLEDGE_S,
    ) -> None:
        self._listing = listing
        self._streams = streams
        self._keeper = keeper
        self._clock = clock
        self._metrics = metrics
        self._acknowledge_s = acknowledge_s
        self._changed = asyncio.Event()
        self._told = asyncio.Condition()

    def see(self, replicas: Sequence[Replica]) -> None:
        """What the owner says of all replicas."""
        self._listing.see(replicas, self._clock.monotonic())
        self._changed.set()

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Leaves the replica out meanwhile, and then to what its owner says next."""
        self._listing.withdraw(name)
        self._changed.set()
        try:
            yield
        finally:
            self._listing.restore(name)

    async def acknowledged(self) -> bool:
        """Waits until every gateway has taken the list as it is now; False: not in time."""
        try:
            async with asyncio.timeout(self._acknowledge_s):
                async with self._told:
                    await self._told.wait_for(self._current)
                await self._streams.acknowledged(self._streams.told.version)
        except TimeoutError:
            self._metrics.unacknowledged.inc()
            log.warning("a gateway did not acknowledge its endpoints", seconds=self._acknowledge_s)
            return False
        return True

    async def run(self) -> None:
        """Tells each change, until it is cancelled."""
        while True:
            self._changed.clear()
            await self._tell()
            due = self._listing.due(self._clock.monotonic())
            try:
                async with asyncio.timeout(due):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _tell(self) -> None:
        if self._current():
            return
        endpoints = self._listing.endpoints(self._clock.monotonic())
        told = Told(self._streams.told.version + 1, endpoints)
        try:
            await asyncio.to_thread(self._keeper.save, told)
        except OSError as error:  # the gateways are told all the same
            log.warning("the list of endpoints can't be written down", error=error.strerror)
        self._streams.tell(told)
        log.info("endpoints", version=told.version, replicas=[one.name for one in endpoints or ()])
        async with self._told:
            self._told.notify_all()

    def _current(self) -> bool:
        return self._streams.told.endpoints == self._listing.endpoints(self._clock.monotonic())
