"""Processes and probes that do what a test says."""

import asyncio
import signal

from headrace.local.spec import Spec


class FakeChild:
    """A process that runs until the test ends it; SIGTERM ends it unless it is `stubborn`."""

    def __init__(self, pid: int, *, stubborn: bool = False) -> None:
        self.pid = pid
        self.signals: list[signal.Signals] = []
        self._stubborn = stubborn
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return await asyncio.shield(self._status)

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if not self._stubborn:
            self.end(0)

    def kill_group(self) -> None:
        self.end(-signal.SIGKILL)

    def end(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)


class FakeLauncher:
    """Starts `FakeChild`s, once `allowed` is set; `errors` are raised by the first starts."""

    def __init__(self, *, stubborn: bool = False, errors: list[OSError] | None = None) -> None:
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.children: list[FakeChild] = []
        self._started = asyncio.Event()
        self._stubborn = stubborn
        self._errors = errors or []

    async def __call__(self, spec: Spec) -> FakeChild:
        await self.allowed.wait()
        if self._errors:
            raise self._errors.pop(0)
        self.children.append(FakeChild(100 + len(self.children), stubborn=self._stubborn))
        self._started.set()
        return self.children[-1]

    async def first(self) -> FakeChild:
        """The first child, once it runs."""
        await self._started.wait()
        return self.children[0]


class FakeProbe:
    """Answers what `answer` says, at once."""

    def __init__(self, *, answer: bool = True) -> None:
        self.answer = answer
        self.closed = False

    async def ready(self) -> bool:
        return self.answer

    async def close(self) -> None:
        self.closed = True
