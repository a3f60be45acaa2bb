"""Who watches hears of each change, and never of a queue of them."""

import asyncio

import pytest

from headrace.local.changes import Changes
from headrace.runtime.errors import HeadraceError


async def test_at_once_and_at_each_change() -> None:
    """A watcher hears at once, then after each change."""
    changes = Changes()
    watch = changes.watch()
    await anext(watch)
    later = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    assert not later.done()
    changes.note()
    await later
    await watch.aclose()


async def test_changes_of_a_busy_watcher_are_one() -> None:
    """Three changes while it looks at the first news are one more news, and none is lost."""
    changes = Changes()
    watch = changes.watch()
    await anext(watch)
    for _ in range(3):
        changes.note()
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await watch.aclose()


async def test_bounded() -> None:
    """One watcher too many is refused; room is made by one that goes."""
    changes = Changes(most=1)
    first, second = changes.watch(), changes.watch()
    await anext(first)
    with pytest.raises(HeadraceError) as refused:
        await anext(second)
    assert (refused.value.reason, refused.value.metadata) == ("OVERLOADED", {"limit_watchers": "1"})
    await first.aclose()
    third = changes.watch()
    await anext(third)
    await third.aclose()
