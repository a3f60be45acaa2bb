"""What must outlive scaling: the desired number, who said it, and the history. One small file, replaced whole."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from headrace.scaling.core.state import Entry
from headrace.scaling.decision_wire import entry_message, entry_of
from headrace.scaling.v1 import scaling_pb2 as pb

FILE = "decisions.json"
VERSION = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """What was decided. `configured` is the number that the configuration began with then."""

    replicas: int
    pinned: bool
    configured: int
    history: tuple[Entry, ...] = ()


class DecisionStore:
    """A directory of this user's. Every method blocks; the loop calls them in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> Kept | None:
        """What was saved last; None for a first start, or for a file that can't be read, which is set aside."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / FILE
        if not path.exists():
            return None
        try:
            return _kept(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError, ParseError) as error:
            path.replace(path.with_suffix(".unreadable"))
            log.warning("the decisions can't be read, and begin anew", error=type(error).__name__)
            return None

    def save(self, kept: Kept) -> None:
        """It is on the disk when this returns; raises OSError, and then what was saved before holds."""
        fresh = self._folder / f"{FILE}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(_document(kept), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._folder / FILE)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # or the new name may be lost with the power
        finally:
            os.close(folder)


def _document(kept: Kept) -> dict[str, object]:
    return {
        "version": VERSION,
        "replicas": kept.replicas,
        "pinned": kept.pinned,
        "configured": kept.configured,
        "history": [MessageToDict(entry_message(entry)) for entry in kept.history],
    }


def _kept(document: dict[str, object]) -> Kept:
    if document["version"] != VERSION:
        raise ValueError("another version")
    replicas, configured, history = document["replicas"], document["configured"], document["history"]
    if not isinstance(replicas, int) or not isinstance(configured, int) or not isinstance(history, list):
        raise TypeError("no numbers")
    return Kept(replicas, document["pinned"] is True, configured, tuple(_entries(history)))


def _entries(documents: Iterable[dict[str, object]]) -> Iterable[Entry]:
    for document in documents:
        yield entry_of(ParseDict(document, pb.Decision()))
