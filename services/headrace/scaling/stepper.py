"""Makes the desired number real: one start or stop at a time, by what really runs."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import grpc
import structlog

from headrace.runtime.errors import HeadraceError
from headrace.scaling.core.steps import Start, coming, step
from headrace.scaling.fleet import Fleet
from headrace.scaling.policy_metrics import FAILED, STARTED, STOPPED, PolicyMetrics

RETRY_S, LONGEST_RETRY_S = 1.0, 60.0

log = structlog.get_logger()


@dataclass(slots=True)
class Progress:
    """How far the replicas are: whether one is being started or stopped, and why that failed the last time.

    `asked` is set when another number is desired; `begun` once there was a
    replica, or a number was asked for.
    """

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False
    stepping: bool = False
    problem: str = ""

    def ask(self) -> None:
        """Has the number looked at now."""
        self.begun = True
        self.asked.set()


class Stepper:
    """Asks for the number before each step, so that a newer one holds at once."""

    def __init__(
        self,
        fleet: Fleet,
        desired: Callable[[], int | None],
        progress: Progress,
        metrics: PolicyMetrics,
        interval_s: float,
    ) -> None:
        self._fleet = fleet
        self._desired = desired
        self._progress = progress
        self._metrics = metrics
        self._interval_s = interval_s
        self._failures = 0

    async def run(self) -> None:
        """Until cancelled. Looks again at each interval: what runs may have changed by itself."""
        while True:
            wait_s = self._interval_s
            self._progress.asked.clear()
            try:
                await self._settle()
                self._failures, self._progress.problem = 0, ""
            except (HeadraceError, grpc.aio.AioRpcError) as error:
                wait_s = self._failed(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._progress.asked.wait()

    async def _settle(self) -> None:
        """Steps until the number is there."""
        while (desired := self._desired()) is not None:
            replicas = await self._fleet.replicas()
            self._progress.begun = self._progress.begun or bool(coming(replicas))
            next_step = step(replicas, desired)
            # At the start of a mesh its owner has not begun its replicas yet: they are not missing.
            if next_step is None or not self._progress.begun:
                return
            self._progress.stepping = True
            try:
                if isinstance(next_step, Start):
                    started = await self._fleet.start()
                    log.info("replica started", replica=started.name)
                    self._metrics.stepped(STARTED)
                else:
                    await self._fleet.stop(next_step.name)
                    log.info("replica stopped", replica=next_step.name)
                    self._metrics.stepped(STOPPED)
            finally:
                self._progress.stepping = False

    def _failed(self, error: HeadraceError | grpc.aio.AioRpcError) -> float:
        """How long to wait before the next try."""
        message = error.message if isinstance(error, HeadraceError) else error.details()
        self._progress.problem = message or "it failed, and nothing says why"
        self._failures += 1
        self._metrics.stepped(FAILED)
        log.error("a replica could not be started or stopped", why=self._progress.problem)
        return min(LONGEST_RETRY_S, RETRY_S * 2.0 ** min(self._failures, 10))
