"""Owns the desired number: looks at the signals, asks the policy, keeps what it says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.scaling.core.conditions import Conditions
from headrace.scaling.core.policy import Cause, Decision, Pool, decide, decision
from headrace.scaling.core.signals import Signals
from headrace.scaling.core.state import KEPT, Entry, History
from headrace.scaling.core.steps import coming
from headrace.scaling.decision_store import DecisionStore, Kept
from headrace.scaling.errors import replicas_out_of_bounds, store_failed
from headrace.scaling.fleet import Fleet, Replica, ReplicaState
from headrace.scaling.policy_metrics import PolicyMetrics
from headrace.scaling.policy_settings import PolicySettings
from headrace.scaling.stepper import Progress

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Seen:
    """The pool as it is: what its owner says runs, what is desired, and the last decision."""

    pool: Pool
    last: Entry | None


class Listener(Protocol):
    """Who hears what replicas report; see `collector.Collector`."""

    def follow(self, replicas: Sequence[Replica]) -> None:
        """Listens to these from now on, and to no others."""
        ...


class Scaler:
    """Decides; `stepper.py` makes it real.

    A number holds from the moment at which it is stored, so that a scaling
    that was killed goes on with the last one.
    """

    def __init__(
        self,
        fleet: Fleet,
        signals: Signals,
        listener: Listener,
        store: DecisionStore,
        kept: Kept | None,
        policy: PolicySettings,
        progress: Progress,
        metrics: PolicyMetrics,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._signals = signals
        self._listener = listener
        self._store = store
        self._policy = policy
        self._progress = progress
        self._metrics = metrics
        self._clock = clock
        self._conditions = Conditions(policy.thresholds, policy.window_s, policy.stale_s)
        self._deciding = asyncio.Lock()
        self._last: Entry | None = None
        # Another number in the configuration is a newer word than what was decided before.
        holds = kept is not None and kept.configured == policy.replicas
        self._desired = kept.replicas if kept and holds else policy.replicas
        self._pinned = bool(kept and holds and kept.pinned)
        # Nobody knows when the last change was, and a mesh that starts is not judged by how it starts.
        self._changed_at = clock.monotonic()
        self.history = History(kept.history if kept else ())

    @property
    def desired(self) -> int | None:
        """The number to bring about; None when nobody set one, and what runs is left alone."""
        return self._desired if self._pinned or self._policy.auto else None

    async def run(self) -> None:
        """Looks and decides at each interval, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._policy.interval_s)

    async def look(self) -> None:
        """One decision. While nobody tells what runs there is none: the last number holds."""
        try:
            replicas = await self._fleet.replicas()
        except HeadraceError as error:
            log.warning("no decision", why=error.message)
            return
        here = coming(replicas)
        self._listener.follow(here)
        async with self._deciding:
            now, pool = self._clock.monotonic(), self._pool(replicas)
            view = self._signals.view([replica.name for replica in here], now)
            readings = self._conditions.look(view, now)
            made = decide(pool, view, readings, self._policy.rules, now)
            try:
                await self._hold(made, pinned=self._pinned)
            except HeadraceError as error:
                log.error("a decision was not taken", why=error.message)

    async def pin(self, replicas: int) -> Seen:
        """Sets the number; raises REPLICAS_OUT_OF_BOUNDS, STORE_FAILED."""
        rules = self._policy.rules
        if rules.within(replicas) != replicas:
            raise replicas_out_of_bounds(replicas, rules.least, rules.most)
        seen = await self._ask(Cause.PINNED, replicas, pinned=True)
        self._progress.ask()
        return seen

    async def unpin(self) -> Seen:
        """Leaves the number to the policy, from where it is; raises STORE_FAILED."""
        return await self._ask(Cause.UNPINNED, None, pinned=False)

    async def seen(self) -> Seen:
        """The pool now; raises SUPERVISOR_LOST."""
        return Seen(self._pool(await self._fleet.replicas()), self._last)

    async def _ask(self, cause: Cause, replicas: int | None, *, pinned: bool) -> Seen:
        found = await self._fleet.replicas()
        async with self._deciding:
            pool = self._pool(found)
            after = pool.desired if replicas is None else replicas
            await self._hold(decision(cause, pool, after), pinned=pinned, asked=True)
        return Seen(self._pool(found), self._last)

    def _pool(self, replicas: Sequence[Replica]) -> Pool:
        here = coming(replicas)
        if self.desired is None:
            self._desired = len(here)
        return Pool(
            self._desired,
            sum(replica.state is ReplicaState.SERVING for replica in replicas),
            self._changed_at,
            changing=self._progress.stepping or len(here) != self._desired,
            pinned=self._pinned,
            auto=self._policy.auto,
        )

    async def _hold(self, made: Decision, *, pinned: bool, asked: bool = False) -> None:
        """Stores the decision, and then goes by it; raises STORE_FAILED."""
        time_ns = self._clock.time_ns()
        entry = self.history.entry(made, time_ns, asked=asked)
        if entry is not None:
            await self._save(entry, pinned=pinned)
            self.history.add(entry)
        self._metrics.decided(made)
        self._last = entry or Entry(0, time_ns, made)
        self._pinned = pinned
        if made.after != made.before:
            self._desired = made.after
            self._changed_at = self._clock.monotonic()
            log.info("replicas desired", cause=made.cause.name.lower(), before=made.before, after=made.after)
            self._progress.ask()

    async def _save(self, entry: Entry, *, pinned: bool) -> None:
        history = (*self.history, entry)[-KEPT:]
        kept = Kept(entry.decision.after, pinned, self._policy.replicas, history)
        try:
            await asyncio.to_thread(self._store.save, kept)
        except OSError as error:
            log.error("the decisions can't be stored", error=error.strerror)
            raise store_failed() from None
