"""What gRPC's C core is told by the environment, set where a process begins."""

from collections.abc import MutableMapping

EXPERIMENTS = "GRPC_EXPERIMENTS"
WITHOUT_WORKERS = "-event_engine_client,-event_engine_listener"
"""Sockets are served by the thread that polls, without the core's pool of four workers behind it.

Those wake some eighty times a second in a process that has next to nothing to
do: in the processes of an idle mesh together 1 % of a core. A core that does not
know a name says so in its log and goes on.
"""


def settle(environ: MutableMapping[str, str]) -> None:
    """Sets what was not set; before the first channel or server is made."""
    environ.setdefault(EXPERIMENTS, WITHOUT_WORKERS)
