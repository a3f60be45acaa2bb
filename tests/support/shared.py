"""Shared memory objects of a test, gone when it ends."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHM = Path("/dev/shm")  # noqa: S108  # where POSIX shared memory is on Linux


@contextmanager
def shared_object(content: bytes) -> Iterator[tuple[str, Path]]:
    """The key of a new object with this content, and its file."""
    path = SHM / f"headrace-test-{uuid.uuid4().hex}"
    path.touch(mode=0o600, exist_ok=False)
    try:
        path.write_bytes(content)
        yield f"/{path.name}", path
    finally:
        path.unlink()
