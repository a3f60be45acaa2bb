"""Whether the replica is ready, told to whoever checks: clients, Envoy, an orchestrator.

Live is a process that answers: the health of "". Ready is one that can do what
it is there for: the health of each service, and `/healthz` of the hot ingress.
A blocked event loop answers neither, which every checker takes for a no.
"""

import asyncio
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Gauge

from headrace.inference.models import Models
from headrace.runtime.clock import Clock
from headrace.runtime.server import Server

log = structlog.get_logger(__name__)

LOOK_S = 0.25
"""With the bound of a run, 1.5 s by default, it is known within 2 s that a model has stalled."""
BLOCKED_S = 1.0
"""A loop that comes back later than this is told of in the log."""


class Readiness:
    """Looks at the models every `LOOK_S`, and tells when what it sees has changed."""

    def __init__(
        self,
        models: Models,
        server: Server,
        tell_hot: Callable[[bool], None],
        registry: CollectorRegistry,
        clock: Clock,
    ) -> None:
        self._models = models
        self._server = server
        self._tell_hot = tell_hot
        self._clock = clock
        self._stalled: list[str] = []
        self._lag = Gauge(
            "headrace_inference_loop_lag_seconds",
            "How much later than asked for the event loop last came back to what waited for it.",
            registry=registry,
        )

    async def follow(self) -> None:
        """Runs until it is cancelled."""
        while True:
            due = self._clock.monotonic() + LOOK_S
            await asyncio.sleep(LOOK_S)
            now = self._clock.monotonic()
            self._note_lag(now - due)
            await self.look(now)

    async def look(self, now: float) -> None:
        """Tells of models that have stalled, or that go on again."""
        stalled = [model.name for model in self._models.all() if model.stalled(now)]
        if stalled == self._stalled:
            return
        log.error("models stalled", models=stalled) if stalled else log.info("no model is stalled any more")
        if bool(stalled) != bool(self._stalled):
            self._tell_hot(not stalled)
            await self._server.tell_services(ready=not stalled)
        self._stalled = stalled

    def _note_lag(self, seconds: float) -> None:
        self._lag.set(max(0.0, seconds))
        if seconds > BLOCKED_S:
            log.warning("the event loop was blocked", seconds=round(seconds, 3))
