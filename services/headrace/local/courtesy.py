"""A replica that comes while others work starts with what they leave of the processor.

Its imports, sessions and warm-up take more than a second of a core; on a machine
that is busy, requests would wait for it. Linux gives each session of processes the
same share (sched(7), autogroup), and a low one to the session of a coming replica
as long as it is not ready.
"""

import asyncio
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


class Courtesy:
    """Launches a process with little weight. `end` gives it its own, and what is launched afterwards has it at once."""

    def __init__(self, launch: Launch, proc: Path = Path("/proc")) -> None:
        self._launch = launch
        self._proc = proc
        self._pid = 0
        self._bound: asyncio.TimerHandle | None = None
        self._over = False

    async def launch(self, spec: Spec) -> Running:
        """Starts the process; raises OSError."""
        child = await self._launch(spec)
        if not self._over:
            self._pid = child.pid
            self._weigh(LOW)
            self._bound = self._bound or asyncio.get_running_loop().call_later(BOUND_S, self.end)
        return child

    def end(self) -> None:
        """From now on the process counts as any other."""
        if self._over:
            return
        self._over = True
        if self._bound is not None:
            self._bound.cancel()
        if self._pid and not self._weigh(USUAL):
            asyncio.get_running_loop().call_later(AGAIN_S, self._weigh, USUAL)

    def _weigh(self, nice: int) -> bool:
        """Sets the weight of the process's session; False where that can't be done now, or has no meaning here."""
        with suppress(OSError), (self._proc / str(self._pid) / "autogroup").open("r+") as file:
            file.write(str(nice))
            return True
        return False
