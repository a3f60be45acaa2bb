"""Streams that outlive what admitted them: looked at again while they run."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headrace.runtime.errors import HeadraceError

CHECK_S = 1.0
"""How long a stream goes on after its token was revoked, at the most; one that has no token costs a timer a second."""


@contextmanager
def held_to(check: Callable[[], None], end: Callable[[HeadraceError], None]) -> Iterator[None]:
    """Asks `check` now and then while the block runs, and tells `end` what it raises, once."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer
        try:
            check()
        except HeadraceError as error:
            end(error)
        else:
            timer = loop.call_later(CHECK_S, look)

    timer = loop.call_later(CHECK_S, look)
    try:
        yield
    finally:
        timer.cancel()
