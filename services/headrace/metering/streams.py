"""Streams that end when the service does, not when their sender says so."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def until(ended: asyncio.Event, requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """The requests that come before the event."""
    waiting = asyncio.create_task(ended.wait())
    try:
        while not ended.is_set():
            request = asyncio.create_task(_next(requests))
            await asyncio.wait((waiting, request), return_when=asyncio.FIRST_COMPLETED)
            if not request.done() or (found := request.result()) is None:
                request.cancel()
                return
            yield found
    finally:
        waiting.cancel()


async def _next(requests: AsyncIterator[T]) -> T | None:
    return await anext(requests, None)
