"""What a process has used and metering has not confirmed yet, on disk.

A directory for each process incarnation, `<source>-<incarnation>/`:

    lock           held by flock for as long as the process lives
    names          a JSON line for each (tenant, model, version), in order
    <first>.rows   rows of fixed size, `first` is the first one's sequence number

Files are allocated before they are needed, so that a row that was reserved can
be written on a full disk too, and mapped: a row is in the page cache when
`append` returns, which survives the process, and costs no system call (one for
each row took 6 % of a busy replica's time, most of it waiting for the
interpreter lock again). `flush` brings it to the disk, which survives power.
Not thread-safe: the event loop's, except for `flush`'s returned job.
"""

import fcntl
import json
import mmap
import os
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.metering.core.batch import Name
from headrace.metering.core.bounds import MAX_NAME_BYTES
from headrace.metering.core.rows import FORMAT, ROW_BYTES, Rows, packed
from headrace.metering.usage import UsageEvent

FILE_ROWS = 16_384
"""1.8 MB in a file."""
NAMES_BYTES = 256 * 1024
"""Names are allocated by so many; half of it is always free for new ones."""
_SOURCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(slots=True)
class _File:
    first: int
    path: Path
    descriptor: int
    rows: mmap.mmap

    def close(self) -> None:
        """The rows stay where they are."""
        self.rows.close()
        os.close(self.descriptor)


class Outbox:
    """One process's outbox. `written` and `acknowledged` are sequence numbers, 0 for none."""

    def __init__(self, root: Path, source: str, incarnation: str, *, max_events: int) -> None:
        """Creates and locks the directory; raises OSError, and ValueError for a name that can't be one."""
        if not _SOURCE.fullmatch(source):
            raise ValueError(f"{source!r} is no name of a source: letters, digits, '.', '_' and '-'")
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = root / f"{source}-{incarnation}"
        self.written = 0
        self.acknowledged = 0
        self.names: list[Name] = []
        self._max_files = max(2, -(-max_events // FILE_ROWS))
        self._reserved = 0
        self._allocated = 0
        self._files: deque[_File] = deque()
        self._dirty: list[_File] = []
        self._indexes: dict[Name, int] = {}
        self._names_end = 0
        self._names_allocated = 0
        self._directory_dirty = True
        self._lock = _locked_directory(self.path)
        self._directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        self._names = os.open(self.path / "names", os.O_RDWR | os.O_CREAT, 0o600)
        self._room_for_names()

    @property
    def pending(self) -> int:
        """Events that are written and not acknowledged."""
        return self.written - self.acknowledged

    def reserve(self, *, spare: bool = False) -> bool:
        """Sets room for one row aside; False when there is none.

        `spare` room is a file beyond the bound, for what can't be refused any more.
        """
        first = self._files[0].first - 1 if self._files else self._allocated
        place = self.written + self._reserved
        if place >= first + (self._max_files + spare) * FILE_ROWS:
            return False
        if place >= self._allocated and not self._grow():
            return False
        self._reserved += 1
        return True

    def release(self) -> None:
        """Gives the room for one row back."""
        self._reserved -= 1

    def append(self, event: UsageEvent, price_version: int) -> None:
        """Writes the event into room that was reserved."""
        name = (event.tenant, event.model, event.model_version)
        index = self._indexes.get(name) or self._add_name(name)
        row = packed(index, event, price_version)
        file = self._files[-1]
        if self.written + 1 < file.first:  # the last file was allocated ahead
            file = next(f for f in reversed(self._files) if f.first <= self.written + 1)
        at = (self.written + 1 - file.first) * ROW_BYTES
        file.rows[at : at + ROW_BYTES] = row
        self.written += 1
        self._reserved -= 1
        if not self._dirty or self._dirty[-1] is not file:
            self._dirty.append(file)

    def read(self, first: int, limit: int) -> Rows:
        """Rows from `first` on, at most `limit` and those of one file; none when all were read."""
        file = next((f for f in self._files if f.first <= first < f.first + FILE_ROWS), None)
        count = min(limit, self.written + 1 - first, file.first + FILE_ROWS - first) if file else 0
        if file is None or count <= 0:
            return np.empty(0, FORMAT)
        at = (first - file.first) * ROW_BYTES
        return np.frombuffer(file.rows[at : at + count * ROW_BYTES], FORMAT)

    def acknowledge(self, sequence: int) -> None:
        """Forgets the rows up to there: metering has them."""
        self.acknowledged = max(self.acknowledged, min(sequence, self.written))
        while self._files and self._files[0].first + FILE_ROWS - 1 <= self.acknowledged:
            file = self._files.popleft()
            if file in self._dirty:
                self._dirty.remove(file)
            file.close()
            file.path.unlink()

    def flush(self) -> Callable[[], None] | None:
        """The job that brings what was written to the disk; None when it is there. Any thread may run it."""
        if not self._dirty:
            return None
        descriptors = [os.dup(self._names), *(os.dup(file.descriptor) for file in self._dirty)]
        directory = os.dup(self._directory) if self._directory_dirty else None
        self._dirty.clear()
        self._directory_dirty = False
        return lambda: _synced(descriptors, directory)

    def close(self) -> None:
        """Releases the lock; removes the directory when everything in it is acknowledged."""
        done = not self.pending
        for file in self._files:
            file.close()
            if done:
                file.path.unlink()
        if done:
            for name in ("names", "lock"):
                (self.path / name).unlink()
            self.path.rmdir()
        for descriptor in (self._names, self._directory, self._lock):
            os.close(descriptor)

    def _grow(self) -> bool:
        path = self.path / f"{self._allocated + 1:020d}.rows"
        try:
            file = _allocated(self._allocated + 1, path)
        except OSError:
            return False
        self._files.append(file)
        self._allocated += FILE_ROWS
        self._directory_dirty = True
        return True

    def _add_name(self, name: Name) -> int:
        line = json.dumps(name, ensure_ascii=False).encode() + b"\n"
        if sum(len(part.encode()) for part in name) > MAX_NAME_BYTES:
            raise ValueError(f"tenant, model and version have more than {MAX_NAME_BYTES} bytes")
        os.pwrite(self._names, line, self._names_end)
        self._names_end += len(line)
        self.names.append(name)
        self._indexes[name] = len(self.names)
        with suppress(OSError):  # half of what was allocated is left
            self._room_for_names()
        return len(self.names)

    def _room_for_names(self) -> None:
        if self._names_allocated - self._names_end < NAMES_BYTES // 2:
            os.posix_fallocate(self._names, self._names_allocated, NAMES_BYTES)
            self._names_allocated += NAMES_BYTES


def _locked_directory(path: Path) -> int:
    """Makes the directory, locked from the first moment that the sweeper can see it."""
    hidden = path.with_name(f".{path.name}")
    hidden.mkdir(mode=0o700)
    lock = os.open(hidden / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    hidden.rename(path)
    return lock


def _allocated(first: int, path: Path) -> _File:
    size = FILE_ROWS * ROW_BYTES
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # Before it is mapped: a mapped page that the disk has no room for ends the process.
        os.posix_fallocate(descriptor, 0, size)
        return _File(first, path, descriptor, mmap.mmap(descriptor, size))
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise


def _synced(descriptors: list[int], directory: int | None) -> None:
    """Names before rows: a row on disk names something on disk."""
    try:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
        if directory is not None:
            os.fsync(directory)
    finally:
        for descriptor in (*descriptors, *([] if directory is None else [directory])):
            os.close(descriptor)
