"""One process over its lives: started, watched, restarted with back-off, stopped.

What happens next is decided in `core/`; the tasks, timers and signals are here.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from headrace.local.child import Running, ending
from headrace.local.core.backoff import Backoff
from headrace.local.core.lifecycle import RUNNING, Event, State, step
from headrace.local.errors import process_state, start_failed
from headrace.local.probes import Probe
from headrace.local.spec import Spec
from headrace.runtime.clock import Clock

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a process is waited for, and how often it is asked."""

    start_s: float = 60.0
    stop_s: float = 15.0
    # A process that answers no health check for this long is killed: it hangs.
    silence_s: float = 30.0
    starting_interval_s: float = 0.05
    # Its end is known at once; this finds one that lives and does not answer.
    interval_s: float = 2.0


Launch = Callable[[Spec], Awaitable[Running]]
"""Starts the process of a specification; raises OSError."""


class Kept:
    """A supervised process.

    `changed` is called, with this object, after each change of state.
    `keep` is its life and belongs into the supervisor's task group.
    """

    def __init__(
        self,
        spec: Spec,
        probe: Probe,
        *,
        clock: Clock,
        draw: Callable[[], float],
        changed: Callable[["Kept"], None],
        patience: Patience,
        backoff: Backoff,
        launch: Launch,
    ) -> None:
        self.spec = spec
        self.state = State.STOPPED
        self.restarts = 0
        self.last_exit = ""
        self._probe = probe
        self._clock = clock
        self._draw = draw
        self._changed = changed
        self._patience = patience
        self._backoff = backoff
        self._launch = launch
        self._child: Running | None = None
        self._told_to_end: Running | None = None
        self._started = 0.0
        self._failures = 0
        self._news = asyncio.Event()

    @property
    def pid(self) -> int:
        """The running process; 0 without one."""
        return self._child.pid if self._child and self.state in RUNNING else 0

    @property
    def uptime_s(self) -> float:
        """How long the present run lasts; 0 without one."""
        return self._clock.monotonic() - self._started if self.pid else 0.0

    def require(self, *states: State) -> None:
        """Raises PROCESS_STATE unless the process is in one of `states`."""
        if self.state not in states:
            raise process_state(self.spec.name, self.state.name)

    async def keep(self) -> None:
        """Runs the process until it is stopped; `begin` must have been called."""
        try:
            while self.state is State.STARTING:
                await self._run_once()
                await self._wait_out()
        finally:
            if self._child:
                self._child.kill_group()
            await self._probe.close()

    def begin(self) -> None:
        """Marks a stopped process as starting."""
        self._to(Event.START)

    async def healthy(self) -> None:
        """Waits for the first good health check; raises START_FAILED when it does not come."""
        await self._until(lambda: self.state is not State.STARTING)
        if self.state is not State.HEALTHY:
            why = f"did not become ready ({self.last_exit or self.state.name.lower()})"
            raise start_failed(self.spec.name, str(self.spec.log), why)

    def drain(self) -> None:
        """Marks the process as draining; it goes on running."""
        self._to(Event.DRAIN)

    async def stop(self, first: Awaitable[None] | None = None) -> None:
        """Ends the process for good: `first` while it still serves, SIGTERM, and SIGKILL when that is ignored."""
        self._to(Event.STOP)
        if first is not None:
            await first
        self._tell_to_end()
        try:
            async with asyncio.timeout(self._patience.stop_s):
                await self._until(lambda: self.state is State.STOPPED)
        except TimeoutError:
            log.warning("killed, it did not stop in time", process=self.spec.name)
            if self._child:
                self._child.kill_group()
            await self._until(lambda: self.state is State.STOPPED)

    def _tell_to_end(self) -> None:
        """Once, if it is on its way out: a second SIGTERM would end it at once, and whoever asks again must not."""
        if self.state is State.DRAINING and self._child and self._child is not self._told_to_end:
            self._told_to_end = self._child
            self._child.send(signal.SIGTERM)

    async def _run_once(self) -> None:
        self._started = self._clock.monotonic()
        try:
            self._child = child = await self._launch(self.spec)
        except OSError as error:  # no memory or no descriptors now: perhaps later
            self._ended(f"could not be started: {error.strerror}")
            return
        log.info("started", process=self.spec.name, pid=child.pid)
        self._tell_to_end()  # where that was asked for meanwhile
        gone = asyncio.create_task(child.wait(), name=f"wait {self.spec.name}")
        try:
            await self._watch(child, gone)
        finally:
            child.kill_group()
            status = await gone
        self._ended(ending(status))

    async def _watch(self, child: Running, gone: "asyncio.Task[int]") -> None:
        """Asks for health until the process is gone; kills it when it hangs."""
        answered = self._clock.monotonic()
        while not gone.done():
            ready = await self._ask(gone)
            if gone.done():
                return
            if ready:
                answered = self._clock.monotonic()
            self._to(Event.ANSWERED if ready else Event.UNANSWERED)
            starting = self.state is State.STARTING
            bound = self._patience.start_s if starting else self._patience.silence_s
            if self.state is not State.DRAINING and self._clock.monotonic() - answered > bound:
                log.error("killed, it does not answer", process=self.spec.name, seconds=bound)
                child.kill_group()
            pause = self._patience.starting_interval_s if starting else self._patience.interval_s
            await asyncio.wait({gone}, timeout=pause)

    async def _ask(self, gone: "asyncio.Task[int]") -> bool:
        """The probe's answer; False at once when the process goes meanwhile."""
        asked = asyncio.create_task(self._probe.ready(), name=f"probe {self.spec.name}")
        try:
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
            return asked.done() and asked.result()
        finally:
            asked.cancel()

    def _ended(self, how: str) -> None:
        ran = self.uptime_s
        self.last_exit = how
        self._to(Event.EXITED)
        self._failures = self._backoff.failures(self._failures, ran)
        log.info("ended", process=self.spec.name, how=how, ran_s=round(ran, 3), state=self.state.name)

    async def _wait_out(self) -> None:
        """The back-off, if there is one; ends early when the process is stopped meanwhile."""
        if self.state is not State.BACKOFF:
            return
        delay = self._backoff.delay_s(self._failures, self._draw())
        try:
            async with asyncio.timeout(delay):
                await self._until(lambda: self.state is not State.BACKOFF)
        except TimeoutError:
            self.restarts += 1
            self._to(Event.START)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    def _to(self, event: Event) -> None:
        before, self.state = self.state, step(self.state, event)
        if self.state is not before:
            if event is Event.ANSWERED:
                log.info("healthy", process=self.spec.name, after_s=round(self.uptime_s, 3))
            self._news.set()
            self._changed(self)
