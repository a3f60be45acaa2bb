"""The supervisor's end of a fork server."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.local.child import Running, log_file
from headrace.local.forkserver.birth import RUNNING, Order
from headrace.local.forkserver.forked import Forked
from headrace.local.forkserver.start import Server

ANSWER_S = 15.0
"""How long a fork server may take to answer: it may still be importing, on a machine that has much else to do."""


class NotForked(Exception):
    """The fork server did not start the process: nothing of it is left, so that it can be started otherwise."""


class ForkServer:
    """Asks a fork server for processes. `ended` is called once, when it ends by itself."""

    def __init__(self, server: Server, ended: Callable[[], None]) -> None:
        self._server = server
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._births: set[asyncio.Task[Running]] = set()
        # It never says anything there: what can be read is its end.
        self._loop.add_reader(server.requests, self._gone)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._server.process.pid

    async def fork(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> Running:
        """Starts a service; raises NotForked, and OSError when there is no `log`."""
        with log_file(log) as output:
            ours = self._asked(output.fileno())
        birth = self._loop.create_task(self._birth(ours, Order(command, dict(env))))
        self._births.add(birth)
        birth.add_done_callback(self._births.discard)
        try:
            return await asyncio.shield(birth)
        except asyncio.CancelledError:
            # Nobody knows its pid until it has told it: it is born, and ended as any other.
            birth.add_done_callback(_unwanted)
            raise

    def close(self) -> None:
        """Ends it, and whatever it had forked that nobody gave an order to."""
        self._loop.remove_reader(self._server.requests)
        self._server.requests.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._server.process.wait()  # killed: a moment
        _reap(self.pid)

    def _gone(self) -> None:
        self._loop.remove_reader(self._server.requests)
        self._ended()

    def _asked(self, output: int) -> socket.socket:
        """Our end of a channel whose other end, with `output`, is with the fork server."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                socket.send_fds(self._server.requests, [b"\0"], [theirs.fileno(), output])
        except OSError as error:
            ours.close()
            raise NotForked(str(error)) from None
        return ours

    async def _birth(self, ours: socket.socket, order: Order) -> Running:
        with ours:
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._born(ours, order)
            except (OSError, ValueError) as error:  # TimeoutError is an OSError
                raise NotForked(str(error) or type(error).__name__) from None

    async def _born(self, channel: socket.socket, order: Order) -> Running:
        child = Forked(int(await self._line(channel)))
        try:
            await self._loop.sock_sendall(channel, order.encode())
            if await self._line(channel) != RUNNING:
                raise ValueError("it ended before it was a service")
        except BaseException:
            child.send(signal.SIGKILL)
            raise
        return child

    async def _line(self, channel: socket.socket) -> bytes:
        """What it says next; raises ValueError when it says no more."""
        said = b""
        while not said.endswith(b"\n"):
            more = await self._loop.sock_recv(channel, 64)
            if not more:
                raise ValueError("it ended without an answer")
            said += more
        return said[:-1]


def _unwanted(birth: "asyncio.Task[Running]") -> None:
    if not birth.cancelled() and birth.exception() is None:
        birth.result().kill_group()


def _reap(group: int) -> None:
    """Takes notice of a killed group's ends; no other child is in it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitid(os.P_PGID, group, os.WEXITED)
