"""A handler that a test holds back, and waiting for what comes of it."""

import asyncio
from collections.abc import Callable

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.runtime.rpc import Call
from tests.unit.runtime.ingress.wire import Answer, echo


class Gate:
    """A handler that waits to be let on, and tells what became of it."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._stubborn = stubborn

    async def __call__(self, asked: ModelInferRequest, call: Call) -> Answer:
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            if not self._stubborn:
                raise
            await self.open.wait()
        return await echo(asked, call)


async def settled(check: Callable[[], bool]) -> None:
    """Returns when `check()` holds: the loop needs its turns, not time."""
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110  # what is watched has no event
            await asyncio.sleep(0)


def reached(count: Callable[[], int], expected: int) -> bool:
    """Whether so many are there."""
    return count() == expected
