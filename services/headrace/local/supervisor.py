"""The mesh of one machine: what runs, in which order it comes and goes."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable

import structlog

from headrace.local import gateway
from headrace.local.changes import Changes
from headrace.local.core.backoff import Backoff
from headrace.local.core.lifecycle import SERVING, State
from headrace.local.courtesy import Courtesy
from headrace.local.edge import SETTLE_S, Edge
from headrace.local.endpoints import Endpoint
from headrace.local.errors import process_not_found, process_state
from headrace.local.kept import Kept, Launch, Patience
from headrace.local.plan import (
    CACHE,
    GATEWAY,
    GUARD,
    INFERENCE,
    INSIGHT,
    METERING,
    SCALING,
    VALKEY,
    Plan,
)
from headrace.local.ports import FreePorts, is_free
from headrace.local.probes import HealthProbe, Probe, ValkeyProbe
from headrace.local.secret_files import write_valkey
from headrace.local.spec import Spec, check_ports
from headrace.local.targets import TargetsFile
from headrace.local.valkey import USER
from headrace.runtime.clock import Clock

log = structlog.get_logger()


class Supervisor:
    """Owns every process.

    `tasks` is a task group of the caller's, `changed` hears of every change, `free` gives ports to
    what has none by configuration.
    `sweep` is awaited between the end of the last replica and that of metering.
    """

    def __init__(
        self,
        plan: Plan,
        tasks: asyncio.TaskGroup,
        *,
        clock: Clock,
        changed: Callable[[Kept], None],
        patience: Patience,
        backoff: Backoff,
        draw: random.Random,
        free: FreePorts,
        launch: Launch,
        sweep: Callable[[], Awaitable[object]],
    ) -> None:
        self.processes: dict[str, Kept] = {}
        self._plan = plan
        self._tasks = tasks
        self._clock = clock
        self._told = changed
        self._patience = patience
        self._backoff = backoff
        self._draw = draw
        self._launch = launch
        self._sweep = sweep
        self._free = free
        self._ports_of: dict[int, int] = {}
        self._edge = Edge(plan.state.envoy_admin, lambda: self.processes[GATEWAY].state in SERVING, clock)
        self._gateway = plan.gateway_settings(plan.config.gateway.port or self._free.take())
        self._targets = TargetsFile(plan.state.targets)
        self._changes = Changes()
        self._stopping = False

    @property
    def gateway_address(self) -> str:
        """Where clients go."""
        return f"{self._gateway.host}:{self._gateway.port}"

    async def start(self, models: asyncio.Task[None]) -> None:
        """Starts all and returns when a request can be answered.

        Replicas wait for `models`, the gateway for scaling; the others come up meanwhile. Raises
        StartFault, or START_FAILED of a process.
        """
        gateway.write(self._gateway)
        edge = self._plan.gateway_spec(self._gateway.port)
        neighbours = self._plan.neighbours(self._free.take)
        replicas = [self._replica(number) for number in range(self._plan.config.inference.replicas)]
        check_ports([edge, *neighbours, *replicas])
        for spec in neighbours:
            if spec.service == VALKEY:
                write_valkey(self._plan.state, spec.ports[0])
        kept = [self._keep(spec) for spec in (*neighbours, *replicas, edge)]
        try:
            async with asyncio.TaskGroup() as starting:
                scaling = starting.create_task(self._started(self.processes[SCALING]))
                # The gateway asks scaling for the replicas before it listens.
                after = {GATEWAY: scaling, INFERENCE: models}
                for process in kept:
                    if process.spec.service != SCALING:
                        starting.create_task(self._started(process, after.get(process.spec.service)))
        except ExceptionGroup as failed:  # the first one cancelled the others
            raise failed.exceptions[0] from None
        await self._edge.used(self._serving)

    def changes(self) -> AsyncGenerator[None]:
        """Yields at once, and again whenever a process has changed its state; raises OVERLOADED."""
        return self._changes.watch()

    async def add(self, name: str) -> Kept:
        """Starts a stopped process, or one more replica; returns it healthy."""
        if self._stopping:
            raise process_state(name, "going with the whole mesh")
        courtesy = Courtesy(self._launch)
        if name == INFERENCE:
            process = self._keep(self._spare(), courtesy.launch)
        else:
            process = self.find(name)
            process.require(State.STOPPED)
            check_ports([process.spec])
            process = self._keep(process.spec)
        try:
            await self._started(process)
        except BaseException:
            await self._gone(process)
            raise
        finally:
            courtesy.end()
        if endpoint := process.spec.endpoint:
            await self._edge.used(lambda: [endpoint] if process.state in SERVING else [])
        return process

    async def drain(self, name: str) -> Kept:
        """Takes a replica out of the gateway's endpoints; returns when Envoy has let go."""
        process = self.find(name)
        if process.spec.endpoint is None:
            raise process_state(name, "no replica: only replicas are drained")
        process.require(State.HEALTHY, State.UNHEALTHY, State.DRAINING)
        process.drain()
        await self._edge.let_go(process.spec.endpoint)
        return process

    async def stop(self, name: str) -> Kept:
        """Drains a process and stops it, even when the caller does not wait for it."""
        process = self.find(name)
        process.require(*(state for state in State if state is not State.STOPPED))
        await asyncio.shield(self._tasks.create_task(self._stop(process), name=f"stop {name}"))
        return process

    async def _stop(self, process: Kept) -> None:
        if process.spec.service == GATEWAY:
            await process.stop(self._edge.finished())
        elif process.spec.endpoint and process.state in (*SERVING, State.DRAINING):
            await process.stop(self._let_go(process.spec.endpoint))
        else:
            await process.stop()

    async def stop_all(self) -> None:
        """Scaling and the gateway when its requests are done, then the replicas, then whom they told what they did.

        Scaling must start none any more. Usage that dead replicas left is booked before metering goes. Insight is among the last: it takes the spans of
        all that make any.
        """
        self._stopping = True
        await self._stop_together(lambda spec: spec.service == SCALING)
        for process in self._of(lambda spec: spec.service == GATEWAY):
            serving = process.state in SERVING
            await process.stop(self._edge.finished() if serving else None)
        await self._stop_together(lambda spec: spec.endpoint is not None)
        await self._sweep()
        await self._stop_together(lambda spec: spec.service in (CACHE, GUARD, METERING))
        await self._stop_together(lambda spec: spec.service in (VALKEY, INSIGHT))

    def find(self, name: str) -> Kept:
        """The process `name`; raises PROCESS_NOT_FOUND."""
        try:
            return self.processes[name]
        except KeyError:
            raise process_not_found(name) from None

    def addresses(self) -> dict[str, list[str]]:
        """Where each service listens, in the order of starting, the gateway apart."""
        found: dict[str, list[str]] = {}
        for process in self.processes.values():
            if process.spec.service != GATEWAY and process.state is not State.STOPPED:
                found.setdefault(process.spec.service, []).append(process.spec.address)
        return found

    @property
    def web(self) -> str:
        """Where insight's page is."""
        return next((process.spec.web for process in self._of(lambda spec: bool(spec.web))), "")

    def _of(self, which: Callable[[Spec], bool]) -> list[Kept]:
        return [process for process in self.processes.values() if which(process.spec)]

    async def _stop_together(self, which: Callable[[Spec], bool]) -> None:
        await asyncio.gather(*(process.stop() for process in self._of(which)))

    def _probe(self, spec: Spec) -> Probe:
        match spec.service:
            case "gateway":
                return self._edge.probe
            case "valkey":
                return ValkeyProbe(spec.address, USER, self._plan.state.valkey_password.read_text())
        return HealthProbe(spec.address)

    def _keep(self, spec: Spec, launch: Launch | None = None) -> Kept:
        process = Kept(
            spec,
            self._probe(spec),
            clock=self._clock,
            draw=self._draw.random,
            changed=self._changed,
            patience=self._patience,
            backoff=self._backoff,
            launch=launch or self._launch,
        )
        self.processes[spec.name] = process
        return process

    async def _started(self, process: Kept, after: asyncio.Task[None] | None = None) -> None:
        if after is not None:
            await asyncio.shield(after)  # one failed start must not cancel it for its owner
        process.begin()
        self._tasks.create_task(process.keep(), name=process.spec.name)
        await process.healthy()

    async def _gone(self, process: Kept) -> None:
        if process.state is not State.STOPPED:
            await process.stop()

    def _changed(self, process: Kept) -> None:
        self._changes.note()
        self._list()
        self._told(process)

    def _list(self) -> None:
        """Tells who asks for metrics which processes there are."""
        self._targets.write(p.spec for p in self.processes.values() if p.state is not State.STOPPED)

    def _serving(self) -> list[Endpoint]:
        return [
            process.spec.endpoint
            for process in self.processes.values()
            if process.spec.endpoint and process.state in SERVING
        ]

    async def _let_go(self, replica: Endpoint) -> None:
        """Waits until the gateway no longer uses it, and a second more in which it still serves."""
        await self._edge.let_go(replica)
        await asyncio.sleep(SETTLE_S)

    def _replica(self, number: int) -> Spec:
        if first := self._plan.config.inference.port:
            return self._plan.replica_spec(number, first + 10 * number)
        # The same again for the same number: however often replicas come and go, few ports are held.
        if number not in self._ports_of:
            self._ports_of[number] = self._free.take(2)
        return self._plan.replica_spec(number, self._ports_of[number])

    def _spare(self) -> Spec:
        """A replica of a number that none has, on ports that nobody holds."""
        taken = {name for name, process in self.processes.items() if process.state is not State.STOPPED}
        number = next(n for n in range(1000) if f"{INFERENCE}-{n}" not in taken)
        spec = self._replica(number)
        return spec if all(map(is_free, spec.ports)) else self._plan.replica_spec(number, self._free.take(2))
