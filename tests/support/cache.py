"""What the tests fetch once and keep in `.cache/` of the checkout: one folder per content.

A folder is made under an exclusive file lock and marked when it is whole, so
that two test runs beside each other share it and an interrupted one leaves
nothing that looks finished.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
MARK = ".whole"


def cached(kind: str, parts: Sequence[str], make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills for `parts`; made at the first call only."""
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folder = CACHE / kind / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if not (folder / MARK).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / MARK).write_text("\n".join(parts) + "\n")
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
