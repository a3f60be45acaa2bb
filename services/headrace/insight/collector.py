"""Asks every process for its metrics, round after round, and keeps the board.

Nothing waits for it: it is on no request's path, and a process that does not
answer costs a round its timeout at the most.
"""

import asyncio
from pathlib import Path

from headrace.insight.core.board import Board
from headrace.insight.core.exposition import read
from headrace.insight.core.wanted import ENVOY_PATH, GATEWAY, WANTED
from headrace.insight.figures import Overview
from headrace.insight.scrape import Place, Unanswered, scrape
from headrace.insight.targets import Targets
from headrace.runtime.clock import Clock

TIMEOUT_SHARE = 0.8
"""Of the interval, for an answer: a round must end before the next one begins."""
AT_ONCE = 16


class Collector:
    """The figures of the processes that `targets` lists, and of Envoy behind its admin socket."""

    def __init__(self, targets: Path, gateway_admin: Path | None, clock: Clock, *, interval_s: float) -> None:
        self._targets = Targets(targets)
        self._gateway = None if gateway_admin is None else Place(socket=gateway_admin, path=ENVOY_PATH)
        self._clock = clock
        self._interval_s = interval_s
        self._board = Board(interval_s)

    def overview(self, *, history: bool = False) -> Overview:
        """What the mesh does now."""
        return self._board.overview(self._clock.monotonic(), history=history)

    async def run(self) -> None:
        """Round after round, until cancelled."""
        due = self._clock.monotonic()
        while True:
            await self.round()
            now = self._clock.monotonic()
            due = max(due + self._interval_s, now)
            await asyncio.sleep(due - now)

    async def round(self) -> None:
        """Asks every process once."""
        places = dict(self._targets.read())
        if self._gateway is not None:
            places[GATEWAY] = GATEWAY, self._gateway
        self._board.expect({name: service for name, (service, _) in places.items()}, self._clock.monotonic())
        few = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as asking:
            for name, (service, place) in places.items():
                asking.create_task(self._ask(name, service, place, few))
        self._board.round(self._clock.monotonic(), self._clock.time_ns())

    async def _ask(self, name: str, service: str, place: Place, few: asyncio.Semaphore) -> None:
        try:
            async with few:
                text = await scrape(place, self._interval_s * TIMEOUT_SHARE)
        except Unanswered as why:
            self._board.presence.missed(name, refused=why.refused)
        else:
            reading = read(text, WANTED.get(service, {}))
            self._board.answered(name, reading, self._clock.monotonic())
