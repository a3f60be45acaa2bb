"""Operating system processes: started to die with us, and never mistaken for another."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from headrace.local import launch

MAX_LOG_BYTES = 16 * 1024 * 1024
_LOOK_S = 0.01
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identity_of(pid: int) -> str:
    """Tells a process from a later one of the same pid; empty when there is none.

    The kernel's start time in ticks since boot: unlike a date it does not move
    when the clock is set. A zombie counts as gone.
    """
    try:
        # The name stands in parentheses and may hold spaces; fields count from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = _BOOT_ID.read_text().strip()
    except (OSError, ValueError):
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


class Running(Protocol):
    """A process that was started, and has perhaps ended."""

    @property
    def pid(self) -> int:
        """Its identifier."""
        ...

    async def wait(self) -> int:
        """The exit status; a signal's number is negative."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Signals the process; one that has ended is left alone."""
        ...

    def kill_group(self) -> None:
        """SIGKILL for the process and whatever it started."""
        ...


class Child:
    """One running process, the leader of a group of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        status = await self._process.wait()
        await group_ended(self.pid)
        return status

    def send(self, number: signal.Signals) -> None:
        # Until it is waited for, its pid can't be another's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill_group(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def bound_to_us(command: Sequence[str], number: signal.Signals) -> list[str]:
    """`command`, sent signal `number` when this process ends in whatever way."""
    return [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(int(number)), *command]


async def start(command: Sequence[str], env: Mapping[str, str], log: Path) -> Child:
    """Starts `command` (an absolute path first); what it prints goes to `log`."""
    with log_file(log) as output:
        process = await asyncio.create_subprocess_exec(
            *bound_to_us(command, signal.SIGKILL),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's to answer
        )
    return Child(process)


def log_file(log: Path) -> BinaryIO:
    """The file that takes what a process prints, not too large to begin with; raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    return log.open("ab")


async def group_ended(leader: int) -> None:
    """Ends what a process that is gone left running in its group, which are our children by now."""
    while _reaped(leader):
        # Some are left, so that the number is still theirs.
        os.killpg(leader, signal.SIGKILL)
        await asyncio.sleep(_LOOK_S)


def _reaped(group: int) -> bool:
    """Takes notice of those of a group that have ended; whether others of it still run."""
    try:
        while os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG):
            pass
    except ChildProcessError:
        return False
    return True


def ending(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
