"""When a queue is looked at for requests that have become too late: a timer of one model."""

import asyncio
from collections.abc import Callable

from headrace.runtime.clock import Clock

SWEEP_S = 0.005
"""Deadlines are looked at no more often than this, so that many of them cost one look."""


class Sweep:
    """Calls `look(now)` when the earliest deadline it was told has passed; that tells the next one, if there is one."""

    def __init__(self, clock: Clock, look: Callable[[float], float | None]) -> None:
        self._clock = clock
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def by(self, due: float, now: float) -> None:
        """Looks by `due` (monotonic seconds) at the latest."""
        if self._timer and self._at <= due:
            return
        if self._timer:
            self._timer.cancel()
        self._at = due
        self._timer = self._loop.call_later(max(0.0, due - now), self._now)

    def close(self) -> None:
        """Looks no more."""
        if self._timer:
            self._timer.cancel()

    def _now(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        following = self._look(now)
        if following is not None:
            self.by(max(following, now + SWEEP_S), now)
