"""How a process is started: by the fork server, or by exec."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.local.child import Running
from headrace.local.forkserver.client import NotForked
from headrace.local.launcher import MAX_FAILURES, ForkServer, Launcher
from headrace.local.spec import Spec
from tests.fakes.local import FakeChild

PYTHON = "/python"


def spec(*command: str) -> Spec:
    return Spec("one", "one", command, {}, "", (), "", Path("/log"))


SERVICE = spec(PYTHON, "-m", "headrace.guard")


class FakeServer:
    """Forks, or fails to; `ended` tells the launcher that it is gone."""

    def __init__(self, ended: Callable[[], None], *, fails: bool) -> None:
        self.ended = ended
        self.closed = False
        self.fails = fails
        self.forked = 0

    async def fork(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> Running:
        if self.fails:
            raise NotForked("no memory")
        self.forked += 1
        return FakeChild(100)

    def close(self) -> None:
        self.closed = True


class Machine:
    """What a launcher has of the machine."""

    def __init__(self, *, fails: bool = False, none: bool = False) -> None:
        self.servers: list[FakeServer] = []
        self.executed: list[Spec] = []
        self.fails = fails
        self._none = none

    def begin(self, ended: Callable[[], None]) -> ForkServer:
        if self._none:
            raise OSError(11, "no more processes")
        self.servers.append(FakeServer(ended, fails=self.fails))
        return self.servers[-1]

    async def execute(self, spec: Spec) -> Running:
        self.executed.append(spec)
        return FakeChild(200)

    def launcher(self) -> Launcher:
        return Launcher(self.begin, python=PYTHON, execute=self.execute)


async def test_services_are_forked_and_other_programs_are_not() -> None:
    """Only `PYTHON -m MODULE` can be; Envoy and Valkey are programs of their own."""
    machine = Machine()
    launch = machine.launcher()
    await launch(SERVICE)
    await launch(spec("/envoy", "--config-path", "x"))
    await launch(spec("/another/python", "-m", "headrace.guard"))
    assert machine.servers[0].forked == 1
    assert [one.command[0] for one in machine.executed] == ["/envoy", "/another/python"]


async def test_who_is_not_forked_is_executed_and_the_server_replaced() -> None:
    """A fork server that failed once is not asked again."""
    machine = Machine(fails=True)
    launch = machine.launcher()
    machine.fails = False
    await launch(SERVICE)
    await launch(SERVICE)
    assert (machine.executed, machine.servers[0].closed) == ([SERVICE], True)
    assert [one.forked for one in machine.servers] == [0, 1]


async def test_after_some_failures_there_is_no_other() -> None:
    """Fork servers that do nothing but fail are not started for ever, and services are started all the same."""
    machine = Machine(fails=True)
    launch = machine.launcher()
    for _ in range(MAX_FAILURES + 2):
        await launch(SERVICE)
    assert len(machine.servers) == MAX_FAILURES
    assert len(machine.executed) == MAX_FAILURES + 2


async def test_a_success_forgives_what_failed_before() -> None:
    """Only failures in a row count."""
    machine = Machine()
    launch = machine.launcher()
    for _ in range(2 * MAX_FAILURES):
        machine.servers[-1].ended()
        await launch(SERVICE)
    assert len(machine.servers) == 2 * MAX_FAILURES + 1
    assert machine.executed == []


async def test_one_that_was_replaced_may_end_later() -> None:
    """Its end is no failure of the one that took its place."""
    machine = Machine()
    machine.launcher()
    machine.servers[0].ended()
    machine.servers[0].ended()
    assert len(machine.servers) == 2


async def test_where_none_can_be_started_it_is_exec() -> None:
    """No more processes, no more memory: services are started without."""
    machine = Machine(none=True)
    await machine.launcher()(SERVICE)
    assert machine.executed == [SERVICE]


async def test_close() -> None:
    """Ends the fork server, once."""
    machine = Machine()
    launch = machine.launcher()
    launch.close()
    launch.close()
    assert machine.servers[0].closed
    await launch(SERVICE)
    assert machine.executed == [SERVICE]
