"""A supervisor's part of forking, in a process of its own: it adopts orphans, and may be killed.

Reads commands, one JSON object a line; answers each with one.
"""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from headrace.local.child import Running
from headrace.local.forkserver.client import ForkServer
from headrace.local.forkserver.start import start
from headrace.local.launcher import Launcher, execute
from headrace.local.spec import Spec
from headrace.runtime.lifecycle import log_as_json


class Parent:
    """Launches, signals, waits."""

    def __init__(self, state_dir: Path) -> None:
        self.servers: list[ForkServer] = []
        self.running: dict[int, Running] = {}
        self._begin = partial(start, sys.executable, os.environ, state_dir)
        self.launcher = Launcher(self._begun, python=sys.executable, execute=execute)

    def _begun(self, ended: Any) -> ForkServer:
        self.servers.append(ForkServer(self._begin(), ended))
        return self.servers[-1]

    async def launch(self, module: str, env: dict[str, str], log: str) -> dict[str, Any]:
        """Starts `python -m module a b`."""
        command = (sys.executable, "-m", module, "a", "b")
        spec = Spec("one", "one", command, env, "", (), "", Path(log))
        process = await self.launcher(spec)
        self.running[process.pid] = process
        return {"pid": process.pid, **await self.server()}

    async def server(self) -> dict[str, Any]:
        """The fork server, and how many there have been."""
        return {"server": self.servers[-1].pid, "servers": len(self.servers)}

    async def abandon(self, log: str) -> dict[str, Any]:
        """Asks for a process, and gives up at once: nobody ever gives it an order."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self.launch("none", {}, log)
        return {}

    async def end(self, pid: int, number: int) -> dict[str, Any]:
        """Signals a process, and its exit status."""
        self.running[pid].send(signal.Signals(number))
        return await self.ended(pid)

    async def ended(self, pid: int) -> dict[str, Any]:
        """The exit status of a process that ends."""
        return {"status": await self.running.pop(pid).wait()}

    async def children(self) -> dict[str, Any]:
        """Our children and how they are."""
        return {"children": {one.pid: one.status() for one in psutil.Process().children()}}

    async def close(self) -> dict[str, Any]:
        """Ends the fork server."""
        self.launcher.close()
        return await self.children()


async def main() -> None:
    """Until its input ends."""
    log_as_json("parent")
    parent = Parent(Path(sys.argv[1]))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        answer = await getattr(parent, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


asyncio.run(main())
