"""What can be broken: processes killed, held, started and drained; the store behind the cache starved.

Each fault is a block: it is over when the block is, and whoever waits for the
mesh to be whole again does that behind it.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import grpc
import redis

from headrace.local.statedir import StateDir
from headrace.local.v1.process_pb2 import Process, ProcessState
from headrace.local.v1.supervisor_service_pb2 import ListRequest, StartRequest, StopRequest
from headrace.local.v1.supervisor_service_pb2_grpc import SupervisorServiceStub
from tests.support.mesh import Mesh
from tests.support.waiting import eventually

WHOLE_S = 90.0
CALL_S = 60.0
NEIGHBOURS = ("guard", "cache", "metering")
REPLICAS = "inference"
STORE = "valkey"

_USER, _PASSWORD = "chaos", "of this run alone"


class Processes:
    """A mesh's processes, by its supervisor; one connection for all questions."""

    def __init__(self, mesh: Mesh) -> None:
        self._channel = grpc.insecure_channel(f"unix:{mesh.state_dir}/run/supervisor.sock")
        self.supervisor = SupervisorServiceStub(self._channel)

    def close(self) -> None:
        """Lets go of the connection."""
        self._channel.close()

    def listed(self) -> Sequence[Process]:
        """All but those that were stopped on request."""
        found = self.supervisor.List(ListRequest(), timeout=CALL_S).processes
        return [one for one in found if one.state != ProcessState.PROCESS_STATE_STOPPED]

    def of(self, service: str) -> list[Process]:
        """Those of a service that run."""
        return [one for one in self.listed() if one.service == service and one.pid]

    def services(self) -> list[str]:
        """Each service once, in the order of the first start."""
        return list(dict.fromkeys(one.service for one in self.listed()))

    def until_whole(self, gone: Sequence[int] = ()) -> None:
        """Waits until every process answers, none of them one of `gone`."""

        def whole() -> bool:
            listed = self.listed()
            healthy = all(one.state == ProcessState.PROCESS_STATE_HEALTHY for one in listed)
            return healthy and not {one.pid for one in listed} & set(gone)

        eventually(whole, "every process healthy", WHOLE_S)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault is done to. `lasts_s` is how long, where it has a length; `pick` chooses among several victims."""

    mesh: Mesh
    processes: Processes
    pick: int
    lasts_s: float

    def one_of(self, service: str) -> Process:
        """One of the service's processes, whichever `pick` says."""
        found = self.processes.of(service)
        return found[self.pick % len(found)]


Fault = Callable[[Scene], Iterator[list[str]]]
"""Yields the victims' names when they are known, before they are hurt; goes on to hurt them, and to mend what it did."""


def catalogue(services: Sequence[str]) -> Mapping[str, Fault]:
    """Every fault for a mesh of these services, by its kind."""
    found: dict[str, Fault] = {}
    for service in services:
        found[f"kill {service}"] = partial(_kill, service=service)
        found[f"stop {service}"] = partial(_stop, service=service)
    found["kill guard, cache, metering"] = partial(_kill_all, services=NEIGHBOURS)
    found["kill every replica"] = partial(_kill_all, services=(REPLICAS,))
    found["add and drain a replica"] = _add_and_drain
    if STORE in services:
        found["pause the store"] = _pause
        found["starve the store"] = _starve
        found["cut the store's clients"] = _cut
    return found


def _kill(scene: Scene, *, service: str) -> Iterator[list[str]]:
    victim = scene.one_of(service)
    yield [victim.name]
    _killed(scene, [victim])


def _kill_all(scene: Scene, *, services: Sequence[str]) -> Iterator[list[str]]:
    victims = [one for service in services for one in scene.processes.of(service)]
    yield [one.name for one in victims]
    _killed(scene, victims)


def _killed(scene: Scene, victims: Sequence[Process]) -> None:
    """Kill -9. The victims come back, and nobody else was touched."""
    before = {one.name: one.pid for one in scene.processes.listed()}
    for one in victims:
        os.kill(one.pid, signal.SIGKILL)
    scene.processes.until_whole([one.pid for one in victims])
    others = before.keys() - {one.name for one in victims}
    after = {one.name: one.pid for one in scene.processes.listed()}
    assert all(after[name] == before[name] for name in others), f"others died too: {before} {after}"


def _stop(scene: Scene, *, service: str) -> Iterator[list[str]]:
    """Held: it accepts connections and answers nothing, then goes on as if nothing had been."""
    victim = scene.one_of(service)
    yield [victim.name]
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        time.sleep(scene.lasts_s)
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    scene.processes.until_whole()


def _add_and_drain(scene: Scene) -> Iterator[list[str]]:
    supervisor = scene.processes.supervisor
    yield ["a new replica"]
    name = supervisor.Start(StartRequest(name=REPLICAS), timeout=CALL_S).process.name
    try:
        time.sleep(scene.lasts_s)
    finally:
        supervisor.Stop(StopRequest(name=name), timeout=CALL_S)


def _pause(scene: Scene) -> Iterator[list[str]]:
    """The store answers nobody for a while."""
    yield [STORE]
    with _operator(scene) as store:
        store.client_pause(int(scene.lasts_s * 1000), True)
    time.sleep(scene.lasts_s)


def _starve(scene: Scene) -> Iterator[list[str]]:
    """The store has no memory to speak of: what is written to it is refused or thrown away."""
    yield [STORE]
    with _operator(scene) as store:
        before = str(store.config_get("maxmemory")["maxmemory"])
        store.config_set("maxmemory", "1mb")
        try:
            time.sleep(scene.lasts_s)
        finally:
            store.config_set("maxmemory", before)


def _cut(scene: Scene) -> Iterator[list[str]]:
    """Every connection to the store is cut, again and again."""
    yield [STORE]
    end = time.monotonic() + scene.lasts_s
    with _operator(scene) as store:
        while time.monotonic() < end:
            store.client_kill_filter(skipme=True)
            time.sleep(0.05)


@contextmanager
def _operator(scene: Scene) -> Iterator[redis.Redis]:
    """The store, as somebody who may do everything."""
    host, _, port = scene.one_of(STORE).address.rpartition(":")
    with redis.Redis(
        host=host, port=int(port), username=_USER, password=_PASSWORD, socket_timeout=30
    ) as store:
        yield store


def let_us_in(mesh: Mesh, processes: Processes) -> None:
    """Lets a user of ours do everything in the mesh's store: its own may neither pause nor configure it."""
    if not (found := processes.of(STORE)):
        return
    users = StateDir(mesh.state_dir).valkey / "users.acl"
    digest = sha256(_PASSWORD.encode()).hexdigest()
    with users.open("a") as file:
        file.write(f"user {_USER} reset on #{digest} ~* &* +@all\n")
    os.kill(found[0].pid, signal.SIGKILL)  # it reads the file when it starts
    processes.until_whole([found[0].pid])
