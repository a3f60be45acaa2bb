"""What a program that is not a service gets of the environment: nothing that could be a secret."""

from collections.abc import Mapping

INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "GLIBC_TUNABLES",
)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the variables that are set."""
    return {name: environ[name] for name in INHERITED if name in environ}
