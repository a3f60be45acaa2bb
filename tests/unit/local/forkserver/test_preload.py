"""What the fork server imports."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def imported(code: str) -> "subprocess.CompletedProcess[bytes]":
    """Python runs `code`, without the threads that numpy starts where it is allowed to."""
    return subprocess.run(
        [sys.executable, "-c", f"from headrace.local.forkserver.preload import preload; {code}"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "services"), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_all_of_it_is_there_and_starts_no_thread() -> None:
    """Each module that is named can be imported, with one thread at the end."""
    ended = imported("preload()")
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_what_can_not_be_imported_is_told_and_left_to_who_needs_it() -> None:
    """One broken service is no reason to start none by forking."""
    ended = imported("preload(['headrace.none', 'json'])")
    assert ended.returncode == 0
    assert b"headrace.none can't be imported" in ended.stderr


def test_a_thread_is_a_reason_to_fork_nothing() -> None:
    """A thread is lost by a fork, with whatever it held."""
    started = "import threading, time; threading.Thread(target=time.sleep, args=(30,), daemon=True).start()"
    ended = imported(f"{started}; preload(['json'])")
    assert ended.returncode == 1
    assert b"2 threads after importing" in ended.stderr
