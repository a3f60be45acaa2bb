"""Usage that processes left behind when they died: sent to metering while the mesh runs, and once more at its end.

Off the hot path: a replica sends its own; this is for outboxes whose owner is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

EVERY_S = 5.0

AT_MOST_S = 10.0
"""How long one sweep may take: metering that hangs must not keep `down` from its end."""

Sweep = Callable[[], Awaitable[int]]
"""Drains every outbox without an owner; returns how many events metering took."""


async def nothing_left() -> int:
    """The sweep of a mesh without metering."""
    return 0


class Sweeper:
    """Sweeps again and again. What can't be sent stays where it is, for the next sweep or the next `up`."""

    def __init__(self, sweep: Sweep, *, every_s: float = EVERY_S) -> None:
        self._sweep = sweep
        self._every_s = every_s

    async def once(self) -> int:
        """How many events were sent."""
        try:
            return await self._sweep()
        except OSError as error:  # an outbox on a disk that fails: the others wait with it
            log.warning("usage left behind can't be read", error=str(error))
            return 0

    async def keep(self) -> None:
        """Sweeps until it is cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.once()
