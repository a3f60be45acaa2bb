"""How this command was called, so that what it prints can be pasted."""

import shlex
import shutil
import sys
from pathlib import Path

NAME = "headrace"
MODULE = "headrace.cli"


def program() -> str:
    """The words that call this command again, in this working directory."""
    return called_as(sys.argv[0], Path(sys.executable), shutil.which(NAME), Path.cwd())


def called_as(typed: str, interpreter: Path, found: str | None, directory: Path) -> str:
    """`program()` of a command line that began with `typed`.

    `found` is what the name alone would run. That a name is found is not
    enough: `make` puts .venv/bin on the path of what it runs, and not on the
    path of whoever reads it.
    """
    if Path(typed).stem == "__main__":
        return f"{shlex.quote(str(short(interpreter, directory)))} -m {MODULE}"
    if "/" not in typed or typed == found:
        return NAME
    return shlex.quote(str(short(Path(typed), directory)))


def short(path: Path, directory: Path) -> Path:
    """The path as it may be written in `directory`."""
    return path.relative_to(directory) if path.is_relative_to(directory) else path
