"""Lays the demo models out in a repository: once, atomically, by one process at a time.

A model's folder appears whole or not at all: it is written beside its place and
renamed. Entries of the repository that start with a dot are ours, not models.
"""

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from headrace.inference.demo.catalogue import DemoModel, demo_models
from headrace.inference.demo.wheels import Wheel, WheelFinder, installed_wheel

MARKER = ".headrace-digest"
"""In a model's folder: what it was built from."""

_LOCK = ".headrace-lock"
_STAGING = ".headrace-staging-"
_NO_WHEEL = Wheel(Path(), "")


@dataclass(frozen=True, slots=True)
class Layout:
    """What `lay_out` leaves behind."""

    models: tuple[str, ...]
    """Demo models that are in the repository now."""
    built: tuple[str, ...]
    """Those of them that were (re)built by this call."""
    missing: tuple[str, ...]
    """Wheels that aren't installed and whose models are therefore absent; `INSTALL_COMMAND` installs them."""


def lay_out(
    repository: Path,
    *,
    find: WheelFinder = installed_wheel,
    models: Sequence[DemoModel] | None = None,
) -> Layout:
    """Brings the demo models in `repository` up to date, which it creates.

    A folder built from the same code and wheel stays untouched, a user's edits
    of its `config.pbtxt` included; any other folder of that name that carries
    our marker is replaced, and a folder without the marker is left alone: it is
    somebody's own model.
    """
    repository.mkdir(parents=True, exist_ok=True)
    present: list[str] = []
    built: list[str] = []
    missing: dict[str, None] = {}
    with _locked(repository):
        _sweep(repository)
        for model in demo_models() if models is None else models:
            wheel = _NO_WHEEL if model.wheel is None else find(model.wheel)
            if wheel is not None and _bring_up_to_date(repository, model, wheel):
                built.append(model.name)
            if (repository / model.name).exists():
                present.append(model.name)
            else:
                missing[str(model.wheel)] = None
    return Layout(tuple(present), tuple(built), tuple(missing))


def _bring_up_to_date(repository: Path, model: DemoModel, wheel: Wheel) -> bool:
    """Whether the model had to be built."""
    folder = repository / model.name
    digest = _digest(model, wheel)
    if folder.exists() and _marker(folder) in (None, digest):
        return False
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=repository))
    try:
        _write(staging / "new", model, wheel, digest)
        if folder.exists():
            folder.rename(staging / "old")
        (staging / "new").rename(folder)
    finally:
        shutil.rmtree(staging)
    return True


def _write(folder: Path, model: DemoModel, wheel: Wheel, digest: str) -> None:
    version = folder / "1"
    version.mkdir(parents=True)
    model.build(wheel.files, version)
    (folder / "config.pbtxt").write_text(text_format.MessageToString(model.config))
    (folder / MARKER).write_text(digest)


def _marker(folder: Path) -> str | None:
    try:
        return (folder / MARKER).read_text()
    except FileNotFoundError:
        return None


def _digest(model: DemoModel, wheel: Wheel) -> str:
    """Changes with this package's code, the model's configuration and the wheel's version."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    digest.update(model.config.SerializeToString(deterministic=True))
    digest.update(wheel.version.encode())
    return digest.hexdigest()


def _sweep(repository: Path) -> None:
    """Removes what a killed build left; the lock says that no build is running."""
    for leftover in repository.glob(f"{_STAGING}*"):
        shutil.rmtree(leftover)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock of a process that dies."""
    with (repository / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
