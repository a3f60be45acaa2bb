"""A fleet for tests: replicas start and stop when the test says, or at once."""

import asyncio
from collections.abc import Sequence

from headrace.runtime.errors import HeadraceError
from headrace.scaling.errors import supervisor_lost
from headrace.scaling.fleet import Replica, ReplicaState


def replica(number: int, state: ReplicaState = ReplicaState.SERVING) -> Replica:
    """Replica `inference-<number>`."""
    name = f"inference-{number}"
    return Replica(name, state, f"127.0.0.1:{9100 + 10 * number}", f"/run/{name}.hot", f"/run/{name}.grpc")


class FakeFleet:
    """Holds replicas by name.

    Each start and stop waits for `gate`, which is open unless a test closes
    it; `lost` and `broken` fail what is asked. `most_at_once` is how many
    starts and stops ever ran at the same time.
    """

    def __init__(self, *numbers: int) -> None:
        self.states = {f"inference-{number}": ReplicaState.SERVING for number in numbers}
        self.gate = asyncio.Event()
        self.gate.set()
        self.lost = False
        self.broken: HeadraceError | None = None
        self.steps: list[str] = []
        self.most_at_once = 0
        self._at_once = 0

    @property
    def serving(self) -> list[str]:
        """Who serves, by name."""
        return sorted(name for name, state in self.states.items() if state is ReplicaState.SERVING)

    async def replicas(self) -> Sequence[Replica]:
        """All of them."""
        if self.lost:
            raise supervisor_lost("UNAVAILABLE")
        return [replica(int(name.rpartition("-")[2]), state) for name, state in self.states.items()]

    async def start(self) -> Replica:
        """The lowest number that is free."""
        number = next(n for n in range(99) if self._free(f"inference-{n}"))
        await self._step(f"inference-{number}", ReplicaState.STARTING, ReplicaState.SERVING)
        return replica(number)

    async def stop(self, name: str) -> None:
        """Drains, then is gone."""
        await self._step(name, ReplicaState.DRAINING, ReplicaState.STOPPED)

    def _free(self, name: str) -> bool:
        return self.states.get(name, ReplicaState.STOPPED) is ReplicaState.STOPPED

    async def _step(self, name: str, meanwhile: ReplicaState, then: ReplicaState) -> None:
        if self.broken is not None:
            raise self.broken
        self.states[name] = meanwhile
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await self.gate.wait()
        self._at_once -= 1
        self.states[name] = then
        self.steps.append(f"{then.name} {name}")


class FakeListener:
    """Remembers whom it was told to follow."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def follow(self, replicas: Sequence[Replica]) -> None:
        """These."""
        self.names = [one.name for one in replicas]
