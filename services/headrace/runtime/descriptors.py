"""How many files, and so connections, this process and those that it starts may have open."""

import resource
from contextlib import suppress

MAX_DESCRIPTORS = 1_048_576


def raise_descriptor_limit() -> None:
    """As many as the hard limit allows, and no more than a process can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft < wanted:
        with suppress(ValueError, OSError):  # a container may forbid it: then the limit is what it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
