"""The list of endpoints on disk: what the gateway was told last outlives this process."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from headrace.scaling.core.listing import Endpoints

MOST_BYTES = 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Told:
    """What the gateway was told: a version and its endpoints; None where it was told nothing yet."""

    version: int = 0
    endpoints: Endpoints | None = None


class EndpointFile:
    """One file, replaced in one step: a reader sees the old list or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Told:
        """What was told last; nothing when there is no file, or none that can be read."""
        try:
            with self._path.open("rb") as file:
                found = msgspec.json.decode(file.read(MOST_BYTES), type=Told)
        except FileNotFoundError:
            return Told()
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the list of endpoints can't be read", file=str(self._path), error=str(error))
            return Told()
        # None at all is nothing to begin with: perhaps they were only just started.
        return Told(found.version, found.endpoints or None)

    def save(self, told: Told) -> None:
        """Writes it down; raises OSError."""
        beside = self._path.with_name(f".{self._path.name}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(told))
        beside.replace(self._path)
