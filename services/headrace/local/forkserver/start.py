"""Starts a fork server: before the supervisor's own imports, so that both are made at once."""

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.local.inherited import inherited
from headrace.local.kernel import adopt_orphans

MODULE = "headrace.local.forkserver"


@dataclass(frozen=True, slots=True)
class Server:
    """A fork server's process, and the socket that asks it for more."""

    process: "subprocess.Popen[bytes]"
    requests: socket.socket


def start(python: str, environ: Mapping[str, str], state_dir: Path) -> Server:
    """A fork server that ends with this process, whose children what it forks will be; raises OSError."""
    adopt_orphans()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        process = subprocess.Popen(
            [python, "-m", MODULE, str(theirs.fileno()), str(os.getpid())],
            env=_environment(environ, state_dir),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's to answer
        )
    return Server(process, ours)


def _environment(environ: Mapping[str, str], state_dir: Path) -> dict[str, str]:
    """Nothing that could be a secret, and what says whose it is: /proc shows this one for all that it forks."""
    ours = {name: value for name, value in environ.items() if name.startswith(("PYTHON", "GRPC_"))}
    ours |= {"HEADRACE_LOCAL_STATE_DIR": str(state_dir)}
    # numpy's library starts threads when it is loaded; nothing here computes with it.
    return {**ours, **inherited(environ), "OPENBLAS_NUM_THREADS": "1"}
