"""Single flight: what several ask for at the same time is worked out once."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError

T = TypeVar("T")
Work = Callable[[], Awaitable[T]]
"""What gives the result when it is called."""

DEADLINE = "DEADLINE_EXCEEDED"
INFEASIBLE = "DEADLINE_INFEASIBLE"
"""What a queue says of work that can't be done by its deadline."""


class Flights(Generic[T]):
    """The work in flight, by key.

    The work runs in a task of its own: nobody who waits for it, its first
    caller included, takes it from the others by leaving. It is cancelled when
    nobody waits any more. Its failure goes to all who wait and is not remembered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flights: dict[bytes, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def flying(self, key: bytes) -> bool:
        """Whether there is work for `key`."""
        return key in self._flights

    async def share(self, key: bytes, work: Work[T], deadline: float | None) -> tuple[T, bool]:
        """What the work for `key` gives, and whether this caller is the first who takes it.

        Raises what the work raised, or DEADLINE_EXCEEDED at the caller's own
        `deadline` (monotonic). Work that ended at the deadline of another, was
        refused since it could not be done by then, or was cancelled from inside,
        is begun again for a caller who can wait longer.
        """
        latest = inf if deadline is None else deadline
        while True:
            flight = self._flights.get(key)
            joined = flight is not None
            if flight is None:
                flight = self._begin(key, work, latest)
            task = flight.task
            if not await self._waited(key, flight, deadline):
                raise deadline_exceeded()
            if joined and flight.ended_by_another(latest):
                continue
            result = task.result()
            first, flight.taken = not flight.taken, True
            return result, first

    def _begin(self, key: bytes, work: Work[T], latest: float) -> "_Flight[T]":
        flight = self._flights[key] = _Flight(asyncio.create_task(_run(work)), latest)
        flight.task.add_done_callback(lambda task: self._landed(key, task))
        return flight

    def _landed(self, key: bytes, task: "asyncio.Task[T]") -> None:
        self._leave(key, task)
        if not task.cancelled():
            task.exception()  # read here: that nobody waits for it any more is no fault

    def _leave(self, key: bytes, task: "asyncio.Task[T]") -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]

    async def _waited(self, key: bytes, flight: "_Flight[T]", deadline: float | None) -> bool:
        left = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
        flight.waiting += 1
        try:
            done, _ = await asyncio.wait((flight.task,), timeout=left)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Out of the way at once: who comes now must not join work that ends.
                self._leave(key, flight.task)
                flight.task.cancel()
        return bool(done)


class _Flight(Generic[T]):
    """Work, and by when who began it wants it."""

    __slots__ = ("latest", "taken", "task", "waiting")

    def __init__(self, task: "asyncio.Task[T]", latest: float) -> None:
        self.task = task
        self.latest = latest
        self.waiting = 0
        self.taken = False

    def ended_by_another(self, latest: float) -> bool:
        """Whether the ended work failed for who began it, and need not for one who waits until `latest`."""
        if self.task.cancelled():
            return True
        error = self.task.exception()
        if not isinstance(error, HeadraceError):
            return False
        # Who can't wait longer would be refused too, each after the other.
        return error.reason == DEADLINE or (error.reason == INFEASIBLE and latest > self.latest)


async def _run(work: Work[T]) -> T:
    return await work()


def deadline_exceeded() -> HeadraceError:
    """The caller's time is over."""
    return HeadraceError(DEADLINE, "the deadline passed while the answer was being worked out")
