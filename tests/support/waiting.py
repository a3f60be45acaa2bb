"""Waiting for what another process does in its own time, with a bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05


def eventually(probe: Callable[[], T | None], what: str, within_s: float = 10.0) -> T:
    """What `probe` answers as soon as it is neither None nor False; fails after `within_s`."""
    end = time.monotonic() + within_s
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(POLL_S)


async def aeventually(probe: Callable[[], Awaitable[bool] | bool], within_s: float = 20.0) -> None:
    """Returns as soon as `probe` is true; fails after `within_s`. The loop goes on meanwhile."""
    end = time.monotonic() + within_s
    while True:
        found = probe()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < end, f"not within {within_s} s"
        await asyncio.sleep(0.002)
