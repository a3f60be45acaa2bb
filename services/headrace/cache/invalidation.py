"""Forgetting, in the order that leaves nothing behind: the levels, then whoever keeps copies nearer."""

from headrace.cache.core.shelf import Scope
from headrace.cache.errors import invalidation_incomplete
from headrace.cache.levels import Levels
from headrace.cache.store import StoreFailed
from headrace.cache.watchers import Watchers


class Invalidations:
    """Makes the levels and every watcher forget."""

    def __init__(self, levels: Levels, watchers: Watchers) -> None:
        self._levels = levels
        self._watchers = watchers

    async def forget(self, scope: Scope) -> int:
        """Tells how many entries the levels removed; raises INVALIDATION_INCOMPLETE.

        Watchers are told in either case, and after the levels: what they would
        ask for again is gone by then.
        """
        try:
            return await self._levels.forget(scope)
        except StoreFailed as error:
            raise invalidation_incomplete(str(error)) from None
        finally:
            self._watchers.tell(scope)
