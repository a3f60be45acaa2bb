"""Which processes to ask for metrics: a file in the form of Prometheus' file_sd, which others may read too."""

from pathlib import Path

import msgspec
import structlog

from headrace.insight.scrape import Place

MAX_TARGETS = 256

log = structlog.get_logger(__name__)


class _Group(msgspec.Struct, frozen=True):
    targets: list[str]
    labels: dict[str, str] = {}


class Targets:
    """Reads the file again when it changes. One that is missing lists nothing; one that can't be read, what it did."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, tuple[str, Place]] = {}

    def read(self) -> dict[str, tuple[str, Place]]:
        """Each process's service and place, by its name: its label `replica`, or else its address."""
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_ino
            if stamp != self._stamp:
                self._known = _parsed(self._path.read_bytes())
                self._stamp = stamp
        except FileNotFoundError:
            self._known, self._stamp = {}, None
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            log.warning("the list of processes can't be read", path=str(self._path), error=str(error))
        return self._known


def _parsed(content: bytes) -> dict[str, tuple[str, Place]]:
    found: dict[str, tuple[str, Place]] = {}
    for group in msgspec.json.decode(content, type=list[_Group]):
        for target in group.targets:
            name = group.labels.get("replica") or target
            service = group.labels.get("service", "")
            if len(found) < MAX_TARGETS and target.rpartition(":")[2].isdigit():
                found[name] = service, Place(target)
    return found
