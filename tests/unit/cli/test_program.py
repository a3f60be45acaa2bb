"""How the command names itself."""

from pathlib import Path

import pytest

from headrace.cli.program import called_as

HERE = Path("/home/me/headrace")


@pytest.mark.parametrize(
    ("typed", "found", "expected"),
    [
        ("/usr/bin/headrace", "/usr/bin/headrace", "headrace"),
        ("headrace", None, "headrace"),
        (".venv/bin/headrace", None, ".venv/bin/headrace"),
        (".venv/bin/headrace", "/home/me/headrace/.venv/bin/headrace", ".venv/bin/headrace"),
        ("/home/me/headrace/.venv/bin/headrace", "/usr/bin/headrace", ".venv/bin/headrace"),
        ("/opt/other/bin/headrace", "/usr/bin/headrace", "/opt/other/bin/headrace"),
        ("../my venv/bin/headrace", None, "'../my venv/bin/headrace'"),
        ("/x/services/headrace/cli/__main__.py", "/usr/bin/headrace", ".venv/bin/python -m headrace.cli"),
    ],
    ids=["by its name", "bare", "make up", "make's own path", "absolute", "another one", "spaces", "module"],
)
def test_it_is_called_again_as_it_was_called(typed: str, found: str | None, expected: str) -> None:
    """By its name where that is what was typed; below the working directory by a relative path."""
    assert called_as(typed, HERE / ".venv/bin/python", found, HERE) == expected
