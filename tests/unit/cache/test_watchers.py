"""Who watches is told in order, in time, or told nothing any more."""

import pytest

from headrace.cache.core.shelf import Scope
from headrace.cache.watchers import WAITING, Watchers
from headrace.runtime.errors import HeadraceError


async def test_everybody_is_told_in_order() -> None:
    """What came between two words comes together."""
    watchers = Watchers()
    with watchers.watching() as one, watchers.watching() as other:
        watchers.tell(Scope(tenant="a"))
        watchers.tell(Scope(tenant="b"))
        for watcher in (one, other):
            assert await watcher.next(10) == [Scope(tenant="a"), Scope(tenant="b")]
        assert len(watchers) == 2
    assert len(watchers) == 0


async def test_silence_is_a_heartbeat() -> None:
    """Nothing to tell comes in time as well."""
    with Watchers().watching() as watcher:
        assert await watcher.next(0) == []


async def test_a_watcher_that_is_too_slow_loses_its_stream() -> None:
    """It must forget everything, which is what it would have been told in the end."""
    watchers = Watchers()
    with watchers.watching() as watcher:
        for _ in range(WAITING):
            watchers.tell(Scope(tenant="a"))
        assert len(await watcher.next(10) or ()) == WAITING
        for _ in range(WAITING + 1):
            watchers.tell(Scope(tenant="a"))
        assert await watcher.next(10) is None


async def test_watchers_are_bounded() -> None:
    """One more is refused; one that leaves makes room."""
    watchers = Watchers(1)
    with (
        watchers.watching(),
        pytest.raises(HeadraceError, match="TOO_MANY_WATCHERS"),
        watchers.watching(),
    ):
        pass
    with watchers.watching():
        assert len(watchers) == 1


async def test_the_end_is_told() -> None:
    """So that a server that stops need not wait for streams that never end."""
    watchers = Watchers()
    with watchers.watching() as watcher:
        watchers.end()
        assert await watcher.next(10) is None
