"""A directory in which the replicas of one mesh tell each other what is wanted of them, and how far they are.

Blocks; not for the event loop. A replica holds a lock for as long as it lives,
which the kernel takes from a dead one: nobody waits for those.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from headrace.inference.core.wishes import Acknowledgement, Wishes

ALIVE, TOLD = ".alive", ".json"


class NameTaken(Exception):
    """Another process is the replica of this name."""


class Board:
    """One replica's place at the board."""

    def __init__(self, folder: Path, replica: str) -> None:
        self._wishes = folder / "wishes.json"
        self._lock = folder / "lock"
        self._replicas = folder / "replicas"
        self._own = quote(replica, safe="")
        self._alive = -1
        self._stamp: tuple[int, int] | None = None

    def join(self) -> None:
        """Others wait for this replica from now on; raises NameTaken."""
        for folder in (
            self._replicas.parent,
            self._replicas,
        ):  # mkdir's mode is not that of the parents it makes
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            self._replicas / (self._own + ALIVE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise NameTaken(self._own) from None
        self._alive = descriptor

    def leave(self) -> None:
        """Nobody waits for this replica any more."""
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1

    def wishes(self) -> Wishes:
        """All that is wanted."""
        try:
            return msgspec.json.decode(self._wishes.read_bytes(), type=Wishes)
        except FileNotFoundError:
            return Wishes()

    def news(self) -> Wishes | None:
        """All that is wanted, if that has changed since the last time it was asked for."""
        try:
            found = self._wishes.stat()
        except FileNotFoundError:
            return None
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp == self._stamp:
            return None
        self._stamp = stamp  # before it is read: what comes meanwhile is news again
        return self.wishes()

    def wish(self, key: str, value: str) -> int:
        """Tells everybody; returns the wish's revision."""
        with self._locked():
            changed = self.wishes().changed(key, value)
            _replace(self._wishes, msgspec.json.encode(changed))
            return changed.revision

    def acknowledge(self, done: Acknowledgement) -> None:
        """Tells everybody how far this replica is."""
        _replace(self._replicas / (self._own + TOLD), msgspec.json.encode(done))

    def others(self) -> dict[str, Acknowledgement]:
        """How far the other replicas are that live."""
        found = {}
        for file in self._replicas.glob(f"*{ALIVE}"):
            name = file.name.removesuffix(ALIVE)
            if name != self._own and _is_held(file):
                found[name] = self._told(name)
        return found

    def _told(self, name: str) -> Acknowledgement:
        try:
            return msgspec.json.decode((self._replicas / (name + TOLD)).read_bytes(), type=Acknowledgement)
        except FileNotFoundError:
            return Acknowledgement()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _is_held(file: Path) -> bool:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.touch(mode=0o600)
    beside.write_bytes(content)
    beside.replace(path)
