"""Virtual environments of foreign clients, made once and kept in `.cache/venvs`.

protobuf refuses two definitions of `inference.ModelInferRequest` in one
process, so a client that brings its own never shares ours: it runs in a process
and an environment of its own.
"""

import sys
from pathlib import Path

from tests.support.cache import cached
from tests.support.commands import output_of

INSTALL_TIMEOUT_S = 300.0


def venv(*requirements: str) -> Path:
    """The interpreter of an environment that holds exactly `requirements`."""

    def make(folder: Path) -> None:
        # Our own pip installs into it, and compiles nothing: most of it is never imported.
        output_of([sys.executable, "-m", "venv", "--without-pip", folder], timeout_s=INSTALL_TIMEOUT_S)
        pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", _python(folder)]
        install = ["install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        output_of([*pip, *install, *requirements], timeout_s=INSTALL_TIMEOUT_S)

    version = f"python {sys.version_info.major}.{sys.version_info.minor} {sys.prefix}"
    return _python(cached("venvs", [version, *sorted(requirements)], make))


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"
