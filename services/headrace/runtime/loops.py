"""Loops that run beside something for as long as it is used."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def looping(*loops: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Runs the loops, and cancels them on exit. One that fails ends what is inside.

    An error from inside leaves as it is, not in a group of errors: who starts
    the process tells a port that is taken by its type.
    """
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(loop) for loop in loops]
        try:
            yield
        except Exception as error:  # noqa: BLE001  # raised again below, where no TaskGroup wraps it
            failure = error
        finally:
            for task in running:
                task.cancel()
    if failure is not None:
        raise failure
