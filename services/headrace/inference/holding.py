"""Requests that go to a step's queue together, while the step behind it has no time for them anyway.

Handing a batch to an instance costs both threads some 60 us; a tokenizer takes half
of that for a text. Texts that are tokenised one by one while the encoder is busy
cost it 5 % of its throughput that way.
"""

import asyncio

from headrace.inference.executor import Executor

SHARE = 1 / 16
"""Of what a batch of the step behind takes: so long the first one waits for others."""

LONGEST_S, LEAST_S = 0.005, 0.0005


class Holding:
    """Before one step; `follower` executes the step behind it."""

    def __init__(self, follower: Executor) -> None:
        self._follower = follower
        self._held: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Returns at once where the follower has time, else with those who came meanwhile."""
        if not self._follower.busy:
            return
        loop = asyncio.get_running_loop()
        if not self._held:
            hold_s = self._hold_s()
            if hold_s < LEAST_S:
                return
            loop.call_later(hold_s, self._release)
        mine = loop.create_future()
        self._held.append(mine)
        await mine

    def _hold_s(self) -> float:
        last = self._follower.history.last(1)
        return min(LONGEST_S, SHARE * last[0].took_s) if last else 0.0

    def _release(self) -> None:
        held, self._held = self._held, []
        for one in held:
            if not one.done():  # its caller has left
                one.set_result(None)
