"""Tells those who watch that something has changed; what it is they look up themselves."""

import asyncio
from collections.abc import AsyncGenerator

from headrace.runtime.errors import HeadraceError

MOST_WATCHERS = 64


class Changes:
    """Changes that come while a watcher is busy are one to it: none waits in a queue."""

    def __init__(self, most: int = MOST_WATCHERS) -> None:
        self._most = most
        self._watchers: set[asyncio.Event] = set()

    def note(self) -> None:
        """Something has changed."""
        for watcher in self._watchers:
            watcher.set()

    async def watch(self) -> AsyncGenerator[None]:
        """Yields at once, and again after changes, until it is closed; raises OVERLOADED."""
        if len(self._watchers) >= self._most:
            raise HeadraceError(
                "OVERLOADED",
                "too many watch already",
                {"limit_watchers": str(self._most)},
                retry_after_s=1.0,
            )
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            while True:
                yield
                await changed.wait()
                changed.clear()
        finally:
            self._watchers.discard(changed)
