"""A mesh in this process: its signals, its report, its exit code."""

import asyncio
import os
import signal
import sys

from headrace.local.app import supervise
from headrace.local.errors import StartFault
from headrace.local.forkserver.start import Server
from headrace.local.report import LineReport
from headrace.local.settings import LocalSettings
from headrace.local.shutdown import Shutdown
from headrace.runtime.lifecycle import log_as_json


def run(settings: LocalSettings, forkserver: Server | None) -> int:
    """Runs a mesh until it is asked to end, and reports on stdout; the exit code."""
    log_as_json("supervisor")
    return asyncio.run(_supervised(settings, forkserver, LineReport(sys.stdout.fileno())))


async def _supervised(settings: LocalSettings, forkserver: Server | None, report: LineReport) -> int:
    """A second signal ends it at once, and the kernel its processes."""
    shutdown = Shutdown()

    def stop() -> None:
        if shutdown.asked:
            os._exit(1)
        shutdown.ask()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await supervise(settings, report, shutdown, forkserver=forkserver)
    except StartFault as fault:
        report.failed(fault)
        return 1
    return 0
