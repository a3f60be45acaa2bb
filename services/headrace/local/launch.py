"""Becomes another program that ends with the process that started it, even by kill -9.

Run as a script, in an interpreter without site-packages (20 ms): the supervisor
has threads, and code of its own between fork and exec could deadlock there.
Arguments: the starter's pid, the signal that its end sends, then the program's
absolute path and its arguments.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns: becomes the program, or exits."""
    starter, number, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != starter:  # it died before the line above
        sys.exit("the starter is gone")
    os.execv(command[0], command)  # noqa: S606  # this is what the file is for


if __name__ == "__main__":
    main(sys.argv[1:])
