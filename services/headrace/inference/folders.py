"""A model repository on disk: what there is, and that none of it leads out of it.

Blocks; not for the event loop. Whoever may write to the repository decides what
is served, and nothing else: no name, link or special file of it makes a replica
read a file that is not in it.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.inference.core.repository import name_problem, versions_of

MAX_MODELS = 1000
MAX_FILES = 10_000
"""Of one model, all versions together."""

MAX_VERSION_BYTES = 64 * 1024**3
CONFIG = "config.pbtxt"


class RepositoryError(Exception):
    """Something in the repository that can't be served; the text names it, relative to the repository."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files: `root` is its folder, `files` are all below it, resolved names beside their own."""

    root: Path
    files: tuple[Path, ...]

    def of_version(self, version: str) -> list[Path]:
        """The files of one version, sorted."""
        folder = self.root / version
        return sorted(file for file in self.files if file.is_relative_to(folder))


class Repository:
    """The folders below `root`."""

    def __init__(self, root: Path, max_version_bytes: int = MAX_VERSION_BYTES) -> None:
        self.root = root
        self._max_version_bytes = max_version_bytes

    def names(self) -> list[str]:
        """Models there are: folders with a config.pbtxt or a version. At most `MAX_MODELS`."""
        if not self.root.is_dir():
            return []
        with os.scandir(self.root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
        return [name for name in folders if not name_problem(name) and self._is_model(name)][:MAX_MODELS]

    def has(self, name: str) -> bool:
        """Whether there is such a model."""
        return not name_problem(name) and self._is_model(name)

    def versions(self, name: str) -> list[int]:
        """The model's versions, ascending."""
        with os.scandir(self.root / name) as entries:
            return versions_of(entry.name for entry in entries if entry.is_dir())

    def files(self, name: str) -> ModelFiles:
        """Every file of the model, each found to be inside the repository; raises RepositoryError."""
        problem = name_problem(name)
        if problem:
            raise RepositoryError(f"{name!r}: {problem}")
        folder = self.root / name
        if not folder.is_dir():
            raise RepositoryError(f"no folder {name!r} in the repository")
        found = tuple(self._walk(folder, set()))
        self._check_sizes(folder, found)
        return ModelFiles(folder, found)

    def fingerprint(self, name: str) -> tuple[tuple[str, int, int], ...]:
        """Changes whenever a file of the model is written: names, sizes and times of all of them."""
        folder = self.root / name
        stats = [(file, file.stat()) for file in sorted(self._walk(folder, set()))]
        return tuple((str(file.relative_to(folder)), one.st_size, one.st_mtime_ns) for file, one in stats)

    def told(self, text: str) -> str:
        """`text` without where the repository is."""
        return text.replace(f"{self.root}/", "").replace(f"{self.root.resolve()}/", "")

    def _is_model(self, name: str) -> bool:
        folder = self.root / name
        return folder.is_dir() and ((folder / CONFIG).is_file() or bool(self.versions(name)))

    def _walk(self, folder: Path, seen: set[Path]) -> Iterator[Path]:
        """Regular files below, links followed; raises RepositoryError for whatever leads out."""
        real = folder.resolve()
        self._check_inside(folder, real)
        if real in seen:  # a link to a folder above itself
            return
        seen.add(real)
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
        for count, path in enumerate(folder / name for name in names):
            if count > MAX_FILES:
                raise RepositoryError(f"{self._named(folder)}: expected at most {MAX_FILES} files")
            if path.is_dir():
                yield from self._walk(path, seen)
            else:
                self._check_file(path)
                yield path

    def _check_file(self, path: Path) -> None:
        self._check_inside(path, path.resolve())
        try:
            found = path.stat()
        except OSError as error:
            raise RepositoryError(f"{self._named(path)}: can't be read: {error.strerror}") from None
        if not stat.S_ISREG(found.st_mode):
            raise RepositoryError(f"{self._named(path)}: is no regular file")
        if found.st_nlink > 1 and self._links(found) < found.st_nlink:
            raise RepositoryError(f"{self._named(path)}: has another name outside of the repository")

    def _check_inside(self, path: Path, real: Path) -> None:
        if not real.is_relative_to(self.root.resolve()):
            raise RepositoryError(f"{self._named(path)}: leads out of the repository")

    def _links(self, found: os.stat_result) -> int:
        """How many names the file has inside the repository."""
        count = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                one = os.lstat(f"{folder}/{name}")
                count += (one.st_dev, one.st_ino) == (found.st_dev, found.st_ino)
        return count

    def _check_sizes(self, folder: Path, files: tuple[Path, ...]) -> None:
        if len(files) > MAX_FILES:
            raise RepositoryError(f"{self._named(folder)}: expected at most {MAX_FILES} files")
        sizes: dict[str, int] = {}
        for file in files:
            version = file.relative_to(folder).parts[0]
            sizes[version] = sizes.get(version, 0) + file.stat().st_size
        for version, size in sizes.items():
            if size > self._max_version_bytes:
                raise RepositoryError(
                    f"{self._named(folder / version)}: expected at most {self._max_version_bytes} bytes,"
                    f" got {size}"
                )

    def _named(self, path: Path) -> str:
        return str(path.relative_to(self.root))
