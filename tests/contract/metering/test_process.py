"""Metering as a process that can't start: one sentence says what is wrong, what of, and what to do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def started(folder: Path, ledger: Path) -> "subprocess.CompletedProcess[str]":
    """A metering that is waited for: it must end by itself."""
    values = {
        "LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "",
        "JWKS": str(folder / "jwks.json"),
        "LEDGER": str(ledger),
        "EDGE": str(folder / "edge.sqlite3"),
    }
    environment = {f"HEADRACE_METERING_{key}": value for key, value in values.items()}
    return subprocess.run(
        [sys.executable, "-m", "headrace.metering"],
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT / "services")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def damaged(path: Path) -> None:
    path.write_bytes(b"no ledger at all" * 100)


def a_folder(path: Path) -> None:
    path.mkdir()


def no_folder(path: Path) -> None:
    path.parent.write_text("a file where a folder should be")


@pytest.mark.parametrize("spoil", [damaged, a_folder, no_folder])
def test_a_ledger_that_can_not_be_used_is_one_sentence(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    """Exit code 1; the file, what is wrong and the setting that names another; no traceback."""
    ledger = tmp_path / "metering" / "ledger.sqlite3"
    if spoil is not no_folder:
        ledger.parent.mkdir()
    spoil(ledger)
    done = started(tmp_path, ledger)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert str(ledger) in line
    assert "HEADRACE_METERING_LEDGER" in line
