"""Who hears what must be forgotten: a bounded queue for each near-cache that watches."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.cache.core.shelf import Scope
from headrace.cache.errors import too_many_watchers

WAITING = 1000
"""What a watcher may not have taken yet; one that is slower loses its stream, and with it all it keeps."""


class Watcher:
    """What one near-cache was not told yet."""

    def __init__(self) -> None:
        self._scopes: list[Scope] = []
        self._told = asyncio.Event()
        self._ended = False

    async def next(self, within_s: float) -> list[Scope] | None:
        """What is to be forgotten, at the latest after `within_s` (then perhaps nothing); None at the end."""
        try:
            async with asyncio.timeout(within_s):
                await self._told.wait()
        except TimeoutError:
            return []
        if self._ended:
            return None
        scopes, self._scopes = self._scopes, []
        self._told.clear()
        return scopes

    def tell(self, scope: Scope) -> None:
        """Queues a scope, or ends the stream when too much waits."""
        self._scopes.append(scope)
        self._ended = self._ended or len(self._scopes) > WAITING
        self._told.set()

    def end(self) -> None:
        """Ends the stream."""
        self._ended = True
        self._told.set()


class Watchers:
    """All who watch, at most `limit`."""

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """A watcher for as long as it watches; raises TOO_MANY_WATCHERS."""
        if len(self._watchers) >= self._limit:
            raise too_many_watchers(self._limit)
        watcher = Watcher()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def tell(self, scope: Scope) -> None:
        """Tells everybody what to forget."""
        for watcher in self._watchers:
            watcher.tell(scope)

    def end(self) -> None:
        """Ends every stream, so that the server need not wait for them."""
        for watcher in self._watchers:
            watcher.end()
