"""The deciding half of scaling, put together: reports, policy, steps, and the service before them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from prometheus_client import CollectorRegistry

from headrace.runtime.clock import Clock
from headrace.runtime.loops import looping
from headrace.scaling.collector import collecting
from headrace.scaling.core.signals import Signals
from headrace.scaling.decision_store import DecisionStore
from headrace.scaling.fleet import Fleet
from headrace.scaling.policy_metrics import PolicyMetrics
from headrace.scaling.scaler import Scaler
from headrace.scaling.servicer import ScalingServicer
from headrace.scaling.settings import Settings
from headrace.scaling.stepper import Progress, Stepper


@asynccontextmanager
async def deciding(
    settings: Settings, fleet: Fleet, registry: CollectorRegistry, clock: Clock
) -> AsyncIterator[ScalingServicer]:
    """Decides and steps until exit; what is being started or stopped then is left to its owner."""
    policy, progress, metrics = settings.policy, Progress(), PolicyMetrics(registry)
    signals = Signals(policy.smoothing_s, policy.stale_s)
    store = DecisionStore(settings.store)
    kept = await asyncio.to_thread(store.open)
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(collecting(signals, policy.interval_s, clock))
        scaler = Scaler(fleet, signals, collector, store, kept, policy, progress, metrics, clock)
        stepper = Stepper(fleet, lambda: scaler.desired, progress, metrics, policy.interval_s)
        await stack.enter_async_context(looping(scaler.run(), stepper.run()))
        yield ScalingServicer(scaler, policy.rules, progress)
