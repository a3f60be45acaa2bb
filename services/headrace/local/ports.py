"""TCP ports on the loopback: which are free, and who holds one that is not."""

import contextlib
import random
import socket
from contextlib import ExitStack
from pathlib import Path

import psutil

HOST = "127.0.0.1"
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20000


class FreePorts:
    """Gives out free ports, never one twice, and keeps each from everybody else until it is closed.

    They lie below the kernel's ephemeral range: in it, a port that was free
    when it was picked may be the source port of somebody's connection when the
    process that got it binds it. Another mesh that starts at the same moment
    looks for free ports too: what is given out is held.
    """

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._held = ExitStack()

    def take(self, count: int = 1) -> int:
        """The first of `count` free ports in a row."""
        top = _ephemeral_start() - count
        for _ in range(1000):
            first = self._draw.randrange(_LOWEST, top)
            with contextlib.suppress(OSError), ExitStack() as row:
                for port in range(first, first + count):
                    row.enter_context(_held(port))
                self._held.push(row.pop_all())
                return first
        raise OSError("no free port found")

    def close(self) -> None:
        """Lets go of all that were given out."""
        self._held.close()


def _held(port: int) -> socket.socket:
    """Keeps others from taking `port`, but not from listening on it; raises OSError where somebody has it."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.bind((HOST, port))
    except OSError:
        holder.close()
        raise
    # Only now: whoever binds it with the same option, as servers do, may listen beside a socket
    # that does not. Whoever looks for a free port as we do is refused.
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return holder


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections in TIME_WAIT don't block a port, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def holder(port: int) -> str:
    """Who listens on `port`: "pid 7 (python -m http.server)", as far as we may see."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr and connection.laddr.port == port:
            return _process(connection.pid)
    return "a process that this user can't see"


def _process(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        # Who wrote over its arguments, as our services do, has empty words behind them.
        command = " ".join(filter(None, psutil.Process(pid).cmdline()))
    except psutil.Error:
        return f"pid {pid}"
    return f"pid {pid} ({command[:120]})"


def _ephemeral_start() -> int:
    try:
        return max(_LOWEST + 1000, int(_EPHEMERAL.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return 32768
