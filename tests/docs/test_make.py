"""The Makefile: what a stranger meets first."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINUTES_30 = 1800


def make(folder: Path, *arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={"PATH": path, "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=MINUTES_30,
        check=False,
    )


def interpreter(folder: Path, name: str, script: str) -> Path:
    """A program that answers as a Python interpreter would."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout in which nothing has been made."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt", "models.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_old_python_gets_one_sentence(bare: Path) -> None:
    """A Python that is too old is named, with what to do."""
    old = interpreter(bare, "python3.9", "exit 1")
    done = make(bare, "install", f"PYTHON={old}")
    assert done.returncode != 0
    assert f"Headrace needs Python 3.11 or newer, and {old} is not" in done.stderr


def test_python_without_venv_gets_one_sentence(bare: Path) -> None:
    """A Python that can't make virtual environments is named, with the package that mends it."""
    lacking = interpreter(bare, "python3.11", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    done = make(bare, "install", f"PYTHON={lacking}")
    assert done.returncode != 0
    assert "install its venv module (on Debian and Ubuntu: apt install python3-venv)" in done.stderr


def test_no_python_gets_one_sentence(bare: Path) -> None:
    """A machine without a Python that is new enough is told how to name one."""
    done = make(bare, "install", "CANDIDATES=no-such-python")
    assert done.returncode != 0
    assert "Headrace needs Python 3.11 or newer and found none" in done.stderr


def test_nothing_is_installed_twice(bare: Path) -> None:
    """With the stamps in place `make install` has nothing to do."""
    python = bare / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for path in (python, bare / ".venv" / ".headrace", bare / ".venv" / ".models"):
        path.touch()
    done = make(bare, "--question", "install")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(MINUTES_30)
def test_demo_works_in_a_fresh_clone(tmp_path: Path) -> None:
    """Git clone and make demo: installs, runs a mesh, shows an embedding by gRPC and REST and a trace, ends 0."""
    subprocess.run(["git", "clone", "--quiet", ROOT, tmp_path / "headrace"], check=True)
    done = make(tmp_path / "headrace", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for sign in ("embedding", "HTTP/1.1 200", "SPAN", "gateway", "queue", "batch"):
        assert sign in done.stdout
