"""A replica that comes while others work starts with what they leave of the processor.

Its imports, sessions and warm-up take half a second of a core or more; on a machine
that is busy, requests would wait for it. Linux gives each session of processes the
same share (sched(7), autogroup), and a low one to the session of a coming replica
as long as it is not ready. Its threads are SCHED_IDLE besides, where that can be
undone: with a low share alone its core counts as taken, and batches of the others
share the other core for tens of milliseconds before the kernel moves one.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from headrace.local.child import Running
from headrace.local.kept import Launch
from headrace.local.spec import Spec

LOW, USUAL = 19, 0
"""Nice values of a session: 19 has 15/1024 of the usual weight, and all that nobody else wants."""

BOUND_S = 30.0
"""So long at the most: on a machine with nothing to spare it still has to come."""

AGAIN_S = 0.15
"""The kernel takes a change from an ordinary user ten times a second."""

PASSES = 3
"""A thread that begins while those before it are changed has the policy of the one that began it."""


def idle_is_undone() -> bool:
    """Whether this process may take a thread out of SCHED_IDLE again: with RLIMIT_NICE at 20, or CAP_SYS_NICE."""
    undone: list[bool] = []
    thread = threading.Thread(target=lambda: undone.append(_tried()))  # which ends, whatever it has become
    thread.start()
    thread.join()
    return undone == [True]


def _tried() -> bool:
    try:
        usual = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setscheduler(0, usual, os.sched_param(0))
    except OSError:
        return False
    return True


class Courtesy:
    """Launches a process with little weight. `end` gives it its own, and what is launched afterwards has it at once."""

    def __init__(
        self, launch: Launch, proc: Path = Path("/proc"), undone: Callable[[], bool] = idle_is_undone
    ) -> None:
        self._launch = launch
        self._proc = proc
        self._undone = undone
        self._pid = 0
        self._idle = False
        self._bound: asyncio.TimerHandle | None = None
        self._over = False

    async def launch(self, spec: Spec) -> Running:
        """Starts the process; raises OSError."""
        child = await self._launch(spec)
        if not self._over:
            self._pid = child.pid
            self._weigh(LOW)
            self._idle = self._idle or self._undone()
            if self._idle:
                self._schedule(os.SCHED_IDLE)
            self._bound = self._bound or asyncio.get_running_loop().call_later(BOUND_S, self.end)
        return child

    def end(self) -> None:
        """From now on the process counts as any other."""
        if self._over:
            return
        self._over = True
        if self._bound is not None:
            self._bound.cancel()
        if self._pid and self._idle:
            self._schedule(os.sched_getscheduler(0))  # what everybody inherits (ADR 12)
        if self._pid and not self._weigh(USUAL):
            asyncio.get_running_loop().call_later(AGAIN_S, self._weigh, USUAL)

    def _schedule(self, policy: int) -> None:
        """Gives every thread of the process the policy."""
        for _ in range(PASSES):
            with suppress(OSError):
                for thread in (self._proc / str(self._pid) / "task").iterdir():
                    with suppress(OSError):  # it has ended meanwhile
                        os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))

    def _weigh(self, nice: int) -> bool:
        """Sets the weight of the process's session; False where that can't be done now, or has no meaning here."""
        with suppress(OSError), (self._proc / str(self._pid) / "autogroup").open("r+") as file:
            file.write(str(nice))
            return True
        return False
