"""One process over its lives."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headrace.local.core.backoff import Backoff
from headrace.local.core.lifecycle import State
from headrace.local.kept import Kept, Patience
from headrace.local.spec import Spec
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from tests.fakes.local import FakeLauncher, FakeProbe

SPEC = Spec("insight", "insight", ("/bin/true",), {}, "127.0.0.1:1", (), "insight.port", Path("insight.log"))
QUICK = Patience(start_s=5, stop_s=5, silence_s=5, starting_interval_s=0, interval_s=0.001)


@dataclass
class Case:
    """A kept process among fakes, and the states that it was seen in."""

    launcher: FakeLauncher
    probe: FakeProbe
    patience: Patience = QUICK
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0, most_s=0))
    states: list[State] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def kept(self) -> Kept:
        return Kept(
            SPEC,
            self.probe,
            clock=SystemClock(),
            draw=lambda: 0.0,
            changed=self.changed,
            patience=self.patience,
            backoff=self.backoff,
            launch=self.launcher,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Kept]:
        """The process, begun; stopped behind the block."""
        process = self.kept()
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            process.begin()
            tasks.create_task(process.keep())
            yield process
            await process.stop()

    def changed(self, process: Kept) -> None:
        self.states.append(process.state)
        self.news.set()

    async def until(self, process: Kept, state: State) -> None:
        while process.state is not state:
            self.news.clear()
            await self.news.wait()


async def test_stopped_while_it_is_started() -> None:
    """A process that comes into being after its end was asked for is told to end, as any other."""
    case = Case(FakeLauncher(), FakeProbe(answer=False))
    case.launcher.allowed.clear()
    async with case.running() as process:
        stopping = asyncio.ensure_future(process.stop())
        await case.until(process, State.DRAINING)
        case.launcher.allowed.set()
        await stopping
    assert case.launcher.children[0].signals == [signal.SIGTERM]
    assert process.last_exit == "exit code 0"


async def test_life() -> None:
    """A process starts, answers, is stopped; its probe is closed."""
    case = Case(FakeLauncher(), FakeProbe())
    async with case.running() as process:
        await process.healthy()
        assert process.pid == 100
    assert case.states == [State.STARTING, State.HEALTHY, State.DRAINING, State.STOPPED]
    assert (process.pid, process.last_exit, process.restarts) == (0, "exit code 0", 0)
    assert case.probe.closed


async def test_restart() -> None:
    """One that dies by itself is started again and counted; how it ended is kept."""
    case = Case(FakeLauncher(), FakeProbe())
    async with case.running() as process:
        await process.healthy()
        case.launcher.children[0].end(-9)
        await case.until(process, State.BACKOFF)
        await case.until(process, State.HEALTHY)
        assert (process.pid, process.restarts, process.last_exit) == (101, 1, "killed by SIGKILL")


async def test_start_that_fails() -> None:
    """One that ends before it answers fails its start, with its log in the error."""
    case = Case(FakeLauncher(), FakeProbe(answer=False), backoff=Backoff(first_s=60))
    async with case.running() as process:
        (await case.launcher.first()).end(2)
        with pytest.raises(HeadraceError) as caught:
            await process.healthy()
        assert caught.value.reason == "START_FAILED"
        assert caught.value.metadata == {"name": "insight", "log": "insight.log"}
        assert "exit code 2" in caught.value.message


async def test_stop_ends_the_back_off() -> None:
    """A stop does not wait for a back-off of a minute to be over."""
    case = Case(FakeLauncher(), FakeProbe(), backoff=Backoff(first_s=60))
    async with case.running() as process:
        await process.healthy()
        case.launcher.children[0].end(1)
        await case.until(process, State.BACKOFF)
    assert process.state is State.STOPPED
    assert len(case.launcher.children) == 1


async def test_no_restart_of_a_drained_process() -> None:
    """One that was drained and dies is not started again."""
    case = Case(FakeLauncher(), FakeProbe())
    async with case.running() as process:
        await process.healthy()
        process.drain()
        case.launcher.children[0].end(1)
        await case.until(process, State.STOPPED)
    assert len(case.launcher.children) == 1


async def test_stopped_twice() -> None:
    """Who asks again waits for the same end: a second SIGTERM would cut it short."""
    case = Case(FakeLauncher(stubborn=True), FakeProbe())
    async with case.running() as process:
        await process.healthy()
        child = case.launcher.children[0]
        stops = [asyncio.ensure_future(process.stop()) for _ in range(2)]
        await asyncio.sleep(0)
        child.end(0)
        await asyncio.gather(*stops)
    assert [number.name for number in child.signals] == ["SIGTERM"]


async def test_stubborn() -> None:
    """One that ignores SIGTERM is killed when its time is over."""
    case = Case(FakeLauncher(stubborn=True), FakeProbe(), patience=Patience(stop_s=0, starting_interval_s=0))
    async with case.running() as process:
        await process.healthy()
    assert process.last_exit == "killed by SIGKILL"
    assert [number.name for number in case.launcher.children[0].signals] == ["SIGTERM"]


async def test_serves_until_its_drain_is_over() -> None:
    """SIGTERM comes after `first` has been awaited, never before: the process serves on meanwhile."""
    case = Case(FakeLauncher(), FakeProbe())

    async def first() -> None:
        assert case.launcher.children[0].signals == []
        assert process.state is State.DRAINING

    async with case.running() as process:
        await process.healthy()
        await process.stop(first())
        assert len(case.launcher.children[0].signals) == 1


async def test_unhealthy_and_back() -> None:
    """Health checks that go unanswered make it unhealthy, not dead; the next answer makes it healthy."""
    case = Case(FakeLauncher(), FakeProbe())
    async with case.running() as process:
        await process.healthy()
        case.probe.answer = False
        await case.until(process, State.UNHEALTHY)
        case.probe.answer = True
        await case.until(process, State.HEALTHY)
        assert process.restarts == 0


async def test_hangs() -> None:
    """One that answers nothing for too long is killed and started again."""
    case = Case(
        FakeLauncher(), FakeProbe(), patience=Patience(silence_s=0, starting_interval_s=0, interval_s=0)
    )
    async with case.running() as process:
        await process.healthy()
        case.probe.answer = False
        await case.until(process, State.BACKOFF)
        case.probe.answer = True
        await case.until(process, State.HEALTHY)
        assert (process.restarts, process.last_exit) == (1, "killed by SIGKILL")


async def test_no_process_to_be_had() -> None:
    """When the system gives no process now, it is asked again later."""
    case = Case(FakeLauncher(errors=[OSError(11, "Resource temporarily unavailable")]), FakeProbe())
    async with case.running() as process:
        await case.until(process, State.HEALTHY)
        assert "Resource temporarily unavailable" in process.last_exit
