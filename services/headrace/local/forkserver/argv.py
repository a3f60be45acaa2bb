"""The command line of a forked process: what others see of it, and what it runs."""

import ctypes
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

_ARG_START = 45  # fields of /proc/PID/stat behind the name; _ARG_START + 1 is the end


def show(command: Sequence[str]) -> None:
    """Makes `command` what ps, pgrep and /proc tell of this process.

    It is written over the arguments that the process was started with, cut where they
    end; `setproctitle` would make one word of it, and empty /proc/PID/environ.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    if start and end > start:
        shown = b"".join(os.fsencode(word) + b"\0" for word in command)
        # The last byte stays zero: the kernel reads on into the environment otherwise.
        ctypes.memmove(start, shown[: end - start - 1].ljust(end - start, b"\0"), end - start)


def run(command: Sequence[str]) -> None:
    """Runs `PYTHON -m MODULE ARGUMENTS` in this interpreter, as if it had just been started for that."""
    _, _, module, *arguments = command
    sys.orig_argv = list(command)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
