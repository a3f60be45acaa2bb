"""The supervisor as scaling asks it, played by a plain object."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from headrace.local.client import ProcessInfo
from headrace.scaling.kept import Told


def process(name: str, state: str = "HEALTHY", service: str = "inference") -> ProcessInfo:
    """A process with sockets as a replica has them."""
    return ProcessInfo(name, service, state, "127.0.0.1:1", f"/r/{name}.hot", f"/r/{name}.grpc")


class FakeOwner:
    """Owns the processes it is given; `error` is raised by whatever is asked next."""

    def __init__(self, *processes: ProcessInfo) -> None:
        self.owned = {one.name: one for one in processes}
        self.error: Exception | None = None
        self.changed = asyncio.Event()

    async def processes(self) -> list[ProcessInfo]:
        self._fail()
        return list(self.owned.values())

    async def watch(self) -> AsyncGenerator[list[ProcessInfo]]:
        while True:
            self._fail()
            yield list(self.owned.values())
            await self.changed.wait()
            self.changed.clear()

    async def start(self, name: str) -> ProcessInfo:
        self._fail()
        made = process(f"{name}-{len(self.owned)}")
        self.owned[made.name] = made
        return made

    async def stop(self, name: str) -> None:
        self._fail()
        self.owned[name] = process(name, "STOPPED")

    def _fail(self) -> None:
        if self.error:
            error, self.error = self.error, None
            raise error


class Notes:
    """Keeps what was told; `error` is raised instead. `meanwhile` is called while it is written."""

    def __init__(self) -> None:
        self.saved: list[Told] = []
        self.error: OSError | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def save(self, told: Told) -> None:
        self.meanwhile()
        if self.error:
            raise self.error
        self.saved.append(told)
