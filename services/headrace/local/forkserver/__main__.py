"""`python -m headrace.local.forkserver DESCRIPTOR SUPERVISOR`: forks a service whenever it is asked to.

DESCRIPTOR is our end of the supervisor's socket, SUPERVISOR its pid. Ends when
the supervisor does, or closes its end. A forked process leaves this file as the
service that its order names.
"""

import os
import sys

from headrace.local.forkserver import argv
from headrace.local.forkserver.birth import Order
from headrace.local.forkserver.forking import serve
from headrace.local.forkserver.preload import preload
from headrace.local.kernel import die_with


def main(descriptor: int, supervisor: int) -> Order | None:
    """In each forked process its order; None in this one, at its end."""
    die_with(supervisor)
    preload()
    return serve(descriptor, supervisor, os.environ)


if __name__ == "__main__":
    found = main(*map(int, sys.argv[1:]))
    if found is not None:
        argv.run(found.command)
