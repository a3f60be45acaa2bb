"""A replica that comes while others work has little weight until it is ready."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from headrace.local.courtesy import LOW, USUAL, Courtesy, idle_is_undone
from headrace.local.spec import Spec
from tests.fakes.local import FakeChild, FakeLauncher

SPEC = Spec(
    "inference-1", "inference", ("/bin/true",), {}, "127.0.0.1:1", (), "inference.port", Path("one.log")
)

THREADS = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("both run", flush=True)
threading.Event().wait()
"""


class Started(FakeLauncher):
    """Its child is a process that runs already."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self._pid = pid

    async def __call__(self, spec: Spec) -> FakeChild:
        child = await super().__call__(spec)
        child.pid = self._pid
        return child


@pytest.fixture
def weight(tmp_path: Path) -> Path:
    """The kernel's file of the first process that a `FakeLauncher` starts, as it is at first."""
    file = tmp_path / "100" / "autogroup"
    file.parent.mkdir()
    file.write_text("-")
    return file


def written(weight: Path) -> str:
    """What was written since the last look."""
    text = weight.read_text()
    weight.write_text("-")
    return text


async def test_a_coming_process_has_little_weight_until_the_end(weight: Path, tmp_path: Path) -> None:
    """Then that of any other; a second end changes nothing."""
    courtesy = Courtesy(FakeLauncher(), tmp_path)
    await courtesy.launch(SPEC)
    assert written(weight) == str(LOW)
    courtesy.end()
    assert written(weight) == str(USUAL)
    courtesy.end()
    assert written(weight) == "-"


async def test_what_is_started_again_later_has_its_weight_at_once(weight: Path, tmp_path: Path) -> None:
    """A replica that was ready and died comes back as quickly as it can: others do its work meanwhile."""
    courtesy = Courtesy(FakeLauncher(), tmp_path)
    courtesy.end()
    await courtesy.launch(SPEC)
    assert written(weight) == "-"


async def test_where_the_kernel_knows_no_such_weight_nothing_happens(tmp_path: Path) -> None:
    """The process starts as it would have."""
    courtesy = Courtesy(FakeLauncher(), tmp_path)
    assert (await courtesy.launch(SPEC)).pid == 100
    courtesy.end()


async def test_a_start_that_fails_fails_as_before(tmp_path: Path) -> None:
    """And its end is no mistake."""
    courtesy = Courtesy(FakeLauncher(errors=[OSError("no memory")]), tmp_path)
    with pytest.raises(OSError, match="no memory"):
        await courtesy.launch(SPEC)
    courtesy.end()


def policies(pid: int) -> set[int]:
    return {os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()}


async def test_where_it_can_be_undone_its_threads_run_only_when_others_leave_a_core() -> None:
    """All of them, those that it begins meanwhile too, until the end; a real process."""
    if not idle_is_undone():
        pytest.skip("neither RLIMIT_NICE nor CAP_SYS_NICE: no thread could be taken out of SCHED_IDLE again")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", THREADS, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    courtesy = Courtesy(Started(child.pid))
    await courtesy.launch(SPEC)
    assert policies(child.pid) == {os.SCHED_IDLE}
    courtesy.end()
    assert policies(child.pid) == {os.sched_getscheduler(0)}  # as everybody's
    child.kill()
    await child.wait()


async def test_where_it_can_not_be_undone_no_thread_is_changed() -> None:
    """It would serve with what others leave for ever."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", THREADS, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    await child.stdout.readline()
    courtesy = Courtesy(Started(child.pid), undone=lambda: False)
    await courtesy.launch(SPEC)
    assert policies(child.pid) == {os.sched_getscheduler(0)}
    courtesy.end()
    child.kill()
    await child.wait()


def test_trying_it_changes_no_thread_that_stays() -> None:
    """Whatever came of it: the thread that tried has ended."""
    idle_is_undone()
    assert os.SCHED_IDLE not in policies(os.getpid())
