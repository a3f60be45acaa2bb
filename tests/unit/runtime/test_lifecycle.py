"""A service process from its first line to its last."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVICE = """
import asyncio
from contextlib import asynccontextmanager
from headrace.runtime.lifecycle import run
from headrace.runtime.settings import SettingsError
from headrace.runtime.start import StartFailed

@asynccontextmanager
async def build(settings):
    async with asyncio.TaskGroup(), asyncio.TaskGroup():
        raise {error}
    yield

run("test", lambda environ: None, build)
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("""StartFailed("can't listen on 127.0.0.1:1")""", 1, ["can't listen on 127.0.0.1:1"]),
        ("""SettingsError(["A: is none", "B: is two"])""", 2, ["A: is none", "B: is two"]),
    ],
)
def test_a_start_that_can_not_be_says_why_from_inside_task_groups(
    error: str, code: int, said: list[str]
) -> None:
    """One line for each fault and no traceback, wherever in the start it was found."""
    ended = subprocess.run(
        [sys.executable, "-c", SERVICE.format(error=error)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "services")},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr.decode().splitlines()) == (code, said)
