"""`python -m headrace.local`: what `headrace up` starts."""

import asyncio
import os
import signal
import sys

from headrace.local.app import supervise
from headrace.local.errors import StartFault
from headrace.local.report import LineReport
from headrace.local.settings import LocalSettings
from headrace.local.shutdown import Shutdown
from headrace.runtime.grpc_core import settle
from headrace.runtime.lifecycle import log_as_json
from headrace.runtime.settings import SettingsError


async def main(settings: LocalSettings, report: LineReport) -> int:
    """Runs a mesh; a second signal ends it at once, and the kernel its processes."""
    shutdown = Shutdown()

    def stop() -> None:
        if shutdown.asked:
            os._exit(1)
        shutdown.ask()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await supervise(settings, report, shutdown)
    except StartFault as fault:
        report.failed(fault)
        return 1
    return 0


if __name__ == "__main__":
    log_as_json("supervisor")
    settle(os.environ)
    try:
        found = LocalSettings.read(os.environ)  # the one place where it is read
    except SettingsError as error:
        sys.exit(str(error))
    sys.exit(asyncio.run(main(found, LineReport(sys.stdout.fileno()))))
