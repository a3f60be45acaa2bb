"""From a fork to a service, in the forked process: its order, and all that exec would have done."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.local.forkserver import argv
from headrace.local.kernel import die_with

RUNNING = b"running"
_ADOPTED_S, _LOOK_S = 5.0, 0.0005


@dataclass(frozen=True, slots=True)
class Order:
    """What a forked process is to become. The fork server itself never sees one: the environment may hold secrets."""

    command: Sequence[str]
    env: dict[str, str]

    def encode(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Order":
        """The order in a line of `encode`."""
        return cls(**json.loads(line))


def born(channel: socket.socket, log: int, supervisor: int, environ: MutableMapping[str, str]) -> Order:
    """Tells the supervisor our pid, and becomes what it answers; ends here if it does not.

    Nobody else knows of this process yet: whatever fails before that answer leaves nothing behind.
    """
    _await_adoption(supervisor)
    order = _ordered(channel)
    os.setsid()
    die_with(supervisor)
    argv.show(order.command)
    environ.clear()
    environ.update(order.env)
    _only_standard_streams(log, channel.fileno())
    channel.sendall(RUNNING + b"\n")
    channel.close()
    return order


def _ordered(channel: socket.socket) -> Order:
    try:
        channel.sendall(b"%d\n" % os.getpid())
        with channel.makefile("rb") as answers:
            line = answers.readline()
    except OSError:
        line = b""
    if not line.endswith(b"\n"):
        sys.exit("the supervisor wants no process any more")
    return Order.decode(line)


def _await_adoption(supervisor: int) -> None:
    """The process between the fork server and us ends at once; then we are the supervisor's child."""
    until = time.monotonic() + _ADOPTED_S
    while os.getppid() != supervisor:
        if time.monotonic() > until:
            sys.exit("the supervisor did not become our parent")
        time.sleep(_LOOK_S)


def _only_standard_streams(log: int, keep: int) -> None:
    """Standard input is /dev/null already; what is printed goes to `log`, and of the rest only `keep` stays open."""
    for stream in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(log, stream)
    for opened in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if opened > sys.stderr.fileno() and opened != keep:
            with contextlib.suppress(OSError):  # the list's own descriptor is gone already
                os.close(opened)
