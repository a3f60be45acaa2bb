"""Usage left behind is swept, and a disk that fails ends nothing."""

import asyncio

from headrace.local.sweeper import Sweeper, nothing_left


async def test_again_and_again() -> None:
    """It sweeps until it is cancelled."""
    seen = asyncio.Semaphore(0)

    async def sweep() -> int:
        seen.release()
        return 1

    keeping = asyncio.create_task(Sweeper(sweep, every_s=0).keep())
    for _ in range(3):
        await seen.acquire()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert keeping.cancelled()


async def test_a_failing_disk() -> None:
    """An outbox that can't be read is left for the next sweep."""

    async def sweep() -> int:
        raise OSError(5, "Input/output error")

    assert await Sweeper(sweep).once() == 0


async def test_without_metering() -> None:
    """A mesh without metering has nothing to sweep."""
    assert await Sweeper(nothing_left).once() == 0
