"""Which log lines are written, changed while the process runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from structlog.typing import EventDict


@dataclass(frozen=True, slots=True)
class Verbosity:
    """Which levels are written; `verbose` above 0 adds debug."""

    info: bool = True
    warning: bool = True
    error: bool = True
    verbose: int = 0

    def writes(self, method: str) -> bool:
        """Whether a line of this level (structlog's name of it) is written."""
        match method:
            case "debug":
                return self.verbose > 0
            case "info":
                return self.info
            case "warn" | "warning":
                return self.warning
        return self.error


class LogSwitch:
    """What is written from now on."""

    def __init__(self) -> None:
        self.verbosity = Verbosity()

    def keep(self, _logger: object, method: str, event: EventDict) -> EventDict:
        """structlog's processor: drops what is not written."""
        if not self.verbosity.writes(method):
            raise structlog.DropEvent
        return event


@contextmanager
def switched_logs() -> Iterator[LogSwitch]:
    """Puts a switch in front of the process's log until exit."""
    before = structlog.get_config()
    switch = LogSwitch()
    structlog.configure(
        **{
            **before,
            "processors": [switch.keep, *before["processors"]],
            "wrapper_class": structlog.make_filtering_bound_logger(0),
        }
    )
    try:
        yield switch
    finally:
        structlog.configure(**before)
