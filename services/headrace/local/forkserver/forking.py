"""The fork server's loop: for each request one process that is the supervisor's child, not ours."""

import os
import socket
import sys
from collections.abc import MutableMapping

from headrace.local.forkserver.birth import Order, born

FROM_REQUEST = 2
"""Descriptors that come with a request: the channel to whoever asks, and the file that takes what is printed."""


def serve(descriptor: int, supervisor: int, environ: MutableMapping[str, str]) -> Order | None:
    """Forks until the supervisor closes its end; returns an order in each forked process, None in this one."""
    with socket.socket(fileno=descriptor) as requests:
        while True:
            asked, descriptors, _, _ = socket.recv_fds(requests, 1, FROM_REQUEST)
            if not asked:
                return None
            if len(descriptors) == FROM_REQUEST and _forked():
                requests.detach()  # closed with whatever else the fork server had open
                channel, log = descriptors
                return born(socket.socket(fileno=channel), log, supervisor, environ)
            for each in descriptors:
                os.close(each)


def _forked() -> bool:
    """Forks twice; True in the new process. The one between ends, so that its child is the supervisor's."""
    try:
        between = os.fork()
    except OSError as error:  # no memory or no pids now; the end of the channel tells the supervisor
        print(f"fork server: can't fork: {error.strerror}", file=sys.stderr)
        return False
    if between:
        os.waitpid(between, 0)
        return False
    try:
        newborn = os.fork()
    except OSError:
        os._exit(1)
    if newborn:
        os._exit(0)
    return True
