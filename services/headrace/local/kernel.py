"""What we ask of Linux that Python has no function for."""

import ctypes
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")


def die_with(parent: int) -> None:
    """From now on this process is killed when its parent, the process `parent`, ends in whatever way.

    Exits if that has happened already; raises OSError.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")


def take_turns() -> None:
    """From now on this thread, and all that it starts, waits for its turn when it wakes (ADR 12).

    SCHED_BATCH of sched(7): the same share of the processor, taken from nobody in
    the middle of a turn. Nothing happens where the kernel does not allow it.
    """
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def adopt_orphans() -> None:
    """From now on descendants whose parent ends become this process's children; raises OSError."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
