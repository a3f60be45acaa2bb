"""How processes are started: services by the fork server, everything else, and what it can't start, by exec."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import structlog

from headrace.local import child
from headrace.local.child import Running
from headrace.local.forkserver.client import ForkServer as Forking
from headrace.local.forkserver.client import NotForked
from headrace.local.forkserver.start import Server
from headrace.local.kept import Launch
from headrace.local.spec import Spec

log = structlog.get_logger()

MAX_FAILURES = 3


class ForkServer(Protocol):
    """Starts services by forking."""

    async def fork(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> Running:
        """A service; raises NotForked, or OSError when there is no `log`."""
        ...

    def close(self) -> None:
        """Ends it, and nothing that it forked."""
        ...


class Launcher:
    """A `Launch`. A fork server that fails or ends is replaced, until `MAX_FAILURES` of them did nothing else.

    `begin` starts one, and raises OSError; what it is given is to be called when it ends by itself.
    """

    def __init__(
        self, begin: Callable[[Callable[[], None]], ForkServer], *, python: str, execute: Launch
    ) -> None:
        self._begin = begin
        self._python = python
        self._execute = execute
        self._failures = 0
        self._server = self._begun()

    async def __call__(self, spec: Spec) -> Running:
        server = self._server
        if server is None or spec.command[:2] != (self._python, "-m"):
            return await self._execute(spec)
        try:
            process = await server.fork(spec.command, spec.env, spec.log)
        except NotForked as error:
            self._failed(server, str(error))
            return await self._execute(spec)
        self._failures = 0
        return process

    def close(self) -> None:
        """Ends the fork server."""
        if self._server:
            self._server.close()
            self._server = None

    def _begun(self) -> ForkServer | None:
        """Another one, which may call `ended` before it is known."""
        begun: list[ForkServer] = []
        try:
            begun.append(self._begin(lambda: self._failed(begun[0], "it ended")))
        except OSError as error:
            log.warning("no fork server: services are started by exec", why=error.strerror)
            return None
        return begun[0]

    def _failed(self, server: ForkServer, why: str) -> None:
        if server is not self._server:  # one that is replaced already
            return
        log.warning("the fork server failed", why=why)
        self.close()
        self._failures += 1
        if self._failures < MAX_FAILURES:
            self._server = self._begun()


@contextmanager
def launching(first: Server | None, begin: Callable[[], Server], python: str) -> Iterator[Launch]:
    """A `Launch` with a fork server until the end of the block: `first`, later ones from `begin`."""
    waiting = [first] if first else []

    def begun(ended: Callable[[], None]) -> ForkServer:
        return Forking(waiting.pop() if waiting else begin(), ended)

    launcher = Launcher(begun, python=python, execute=execute)
    try:
        yield launcher
    finally:
        launcher.close()


async def execute(spec: Spec) -> Running:
    """A `Launch` by exec."""
    return await child.start(spec.command, spec.env, spec.log)
