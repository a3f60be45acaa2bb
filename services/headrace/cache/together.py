"""Look-ups that are wanted at the same time, asked in one call: a call each would cost more than the look-ups."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from headrace.runtime.clock import Clock

Q = TypeVar("Q")
A = TypeVar("A")

CALLS = 2
"""So many are under way at once; what is wanted meanwhile goes with the next."""

AT_ONCE = 64


class _Waiting(NamedTuple, Generic[Q, A]):
    question: Q
    since: float
    answer: "asyncio.Future[A | None]"


class Together(Generic[Q, A]):
    """Asks `ask` about all that is wanted in a turn of the loop.

    `ask` gets the questions and how many seconds it may take, and gives an
    answer each, or None when the call failed: then all that waits for a call is
    answered None too. Nobody waits longer than `budget_s`, the wait for a call
    included. Who leaves takes nothing from the others.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[Q], float], Awaitable[Sequence[A | None] | None]],
        clock: Clock,
        *,
        budget_s: float,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._budget_s = budget_s
        self._waiting: list[_Waiting[Q, A]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._due = False

    async def get(self, question: Q) -> A | None:
        """The answer; None without one in time."""
        answer: asyncio.Future[A | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(question, self._clock.monotonic(), answer))
        self._send_soon()
        return await answer

    async def close(self) -> None:
        """Ends what is under way; nobody is answered any more."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _send_soon(self) -> None:
        # Once per turn of the loop: requests that were read together are looked up together.
        if not self._due and len(self._calls) < CALLS:
            self._due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._due = False
        wanted = [one for one in self._waiting if not one.answer.done()]
        part, self._waiting = wanted[:AT_ONCE], wanted[AT_ONCE:]
        if part:
            call = asyncio.create_task(self._call(part))
            self._calls.add(call)
            call.add_done_callback(self._ended)
        if self._waiting:
            self._send_soon()

    async def _call(self, part: list[_Waiting[Q, A]]) -> None:
        left_s = self._budget_s - (self._clock.monotonic() - part[0].since)
        answers = await self._ask([one.question for one in part], left_s) if left_s > 0 else None
        if answers is None:
            # What waited behind a call that failed has waited enough.
            part, self._waiting = [*part, *self._waiting], []
            answers = [None] * len(part)
        for one, answer in zip(part, answers, strict=True):
            if not one.answer.done():
                one.answer.set_result(answer)

    def _ended(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        if self._waiting:
            self._send_soon()
