"""`python -m headrace.local`: what `headrace up` starts."""

import os
import sys

from headrace.local.forkserver.start import Server, start
from headrace.local.kernel import take_turns
from headrace.local.settings import LocalSettings
from headrace.runtime.descriptors import raise_descriptor_limit
from headrace.runtime.grpc_core import settle
from headrace.runtime.settings import SettingsError


def begun(settings: LocalSettings) -> Server | None:
    """The fork server, which imports while we do; None where there can't be one."""
    try:
        return start(sys.executable, settings.environ, settings.state_dir)
    except OSError:  # the supervisor tries again, and says so
        return None


if __name__ == "__main__":
    settle(os.environ)
    try:
        found = LocalSettings.read(os.environ)  # the one place where it is read
    except SettingsError as error:
        sys.exit(str(error))
    raise_descriptor_limit()
    take_turns()
    forkserver = begun(found)
    from headrace.local.foreground import run  # half a second, in which the fork server has begun

    sys.exit(run(found, forkserver))
