"""SHA-256 of files, and what the replicas of one machine know of it already.

To read the 90 MB of `minilm` takes a sixth of a second of a core, two fifths of
what a replica takes to start; and one comes when the machine is busy. So what one
has read is written down for the others, by what a change of the file can't leave
as it was: device, inode, size, and the times of its content and of its inode, which
only the kernel sets. Git's index does the same, and so do we as it does: a file that
changed a moment before it was read is not remembered, since the next change could
have the same time.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec

LARGE = 1 << 20
"""Bytes from which a file is worth remembering."""

MOST = 256
"""Files that are remembered: the latest."""

FINE_NS, COARSE_NS = 100_000_000, 2_000_000_000
"""So old the latest change has to be, by whether the file system tells parts of a second: then its clock ticks at
least a hundred times in one, else every two seconds at worst."""

SECOND_NS = 1_000_000_000

Identity = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime in nanoseconds."""


Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file's digest, in hexadecimal digits."""

    identity: Identity
    digest: Digest


class FileDigests:
    """Blocks; not for the event loop, and safe for several threads.

    `remembered` is the file of those who share it, its owner's alone; None: nothing is remembered.
    """

    def __init__(self, remembered: Path | None = None, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._remembered = remembered
        self._now_ns = now_ns
        self._lock = threading.Lock()

    def of(self, file: Path) -> bytes:
        """The digest of the file's content; raises OSError where it can't be read."""
        with file.open("rb") as stream:
            before = _identity(os.fstat(stream.fileno()))
            if self._remembered is None or before[2] < LARGE:
                return hashlib.file_digest(stream, "sha256").digest()
            known = next((one for one in self._read(self._remembered) if one.identity == before), None)
            if known is not None:
                return bytes.fromhex(known.digest)
            digest = hashlib.file_digest(stream, "sha256").digest()
            if settled(before, self._now_ns()) and _identity(os.fstat(stream.fileno())) == before:
                self._remember(self._remembered, Known(before, digest.hex()))
            return digest

    def _read(self, remembered: Path) -> list[Known]:
        try:
            return msgspec.json.decode(remembered.read_bytes(), type=list[Known])
        except (OSError, msgspec.MsgspecError):  # nobody wrote yet; or not we
            return []

    def _remember(self, remembered: Path, one: Known) -> None:
        # Two replicas that write at once lose one of the two: it is read again.
        with self._lock, suppress(OSError):
            remembered.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            others = [known for known in self._read(remembered) if known.identity[:2] != one.identity[:2]]
            content = msgspec.json.encode([*others, one][-MOST:])
            own = remembered.with_name(f"{remembered.name}.{os.getpid()}")
            own.touch(mode=0o600)
            own.write_bytes(content)
            own.replace(remembered)


def settled(identity: Identity, now_ns: int) -> bool:
    """Whether the file's next change can't have the time of its latest one."""
    *_, mtime, ctime = identity
    fine = mtime % SECOND_NS or ctime % SECOND_NS
    return now_ns - max(mtime, ctime) > (FINE_NS if fine else COARSE_NS)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
