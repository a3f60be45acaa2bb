"""A scaler over a fake fleet, whose reports and whose clock are the test's."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from headrace.scaling.core.policy import Cause, Rules
from headrace.scaling.core.signals import Signal, Signals
from headrace.scaling.decision_store import DecisionStore
from headrace.scaling.policy_metrics import PolicyMetrics
from headrace.scaling.policy_settings import PolicySettings
from headrace.scaling.scaler import Scaler
from headrace.scaling.stepper import Progress, Stepper
from tests.fakes.neighbours import SetClock
from tests.fakes.scaling import FakeFleet, FakeListener

POLICY = PolicySettings(rules=Rules(1, 5, 20.0), interval_s=1.0, window_s=5.0, stale_s=3.0)
BUSY = {Signal.CPU: 0.95, Signal.MEMORY: 0.5, Signal.RESPONSE_TIME: 3.0, Signal.QUEUE: 10.0}
IDLE = {Signal.CPU: 0.05, Signal.MEMORY: 0.1, Signal.RESPONSE_TIME: 0.1, Signal.QUEUE: 0.0}


@dataclass
class Scene:
    """One scaler. `looks` passes the seconds, each with a report of every replica but the `silent`, and a look."""

    folder: Path
    fleet: FakeFleet
    policy: PolicySettings = POLICY
    clock: SetClock = field(default_factory=SetClock)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.signals = Signals(self.policy.smoothing_s, self.policy.stale_s)
        self.listener, self.progress = FakeListener(), Progress()
        metrics, store = PolicyMetrics(self.registry), DecisionStore(self.folder)
        self.scaler = Scaler(
            self.fleet,
            self.signals,
            self.listener,
            store,
            store.open(),
            self.policy,
            self.progress,
            metrics,
            self.clock,
        )
        self.stepper = Stepper(self.fleet, lambda: self.scaler.desired, self.progress, metrics, 3600.0)

    async def looks(
        self, seconds: int, load: Mapping[Signal, float], silent: frozenset[str] = frozenset()
    ) -> list[Cause]:
        """The causes of the decisions."""
        causes = []
        for _ in range(seconds):
            self.clock.now += 1.0
            for name in self.fleet.serving:
                if name not in silent:
                    self.signals.report(name, load, self.clock.now)
            await self.scaler.look()
            seen = await self.scaler.seen()
            assert seen.last is not None
            causes.append(seen.last.decision.cause)
        return causes


async def until(holds: Callable[[], bool], turns: int = 1000) -> None:
    """Lets the loop turn until `holds()` does."""
    for _ in range(turns):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to hold")
