"""Refuses changes of `protos/` that would break a client of the published contract.

    python -m tools.breaking

Compares with main: the commit that this work left main at, or the commit before HEAD where HEAD is main
itself, or HEAD in a clone that knows no more. `HEADRACE_BREAKING_AGAINST=v0.1.0` names another.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from tools.protos import ROOT, lay_googleapis


def git(*arguments: str) -> str | None:
    """What git answers, or None where it fails (no such commit, no repository)."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def base() -> str | None:
    """The commit to compare with, or None outside a git checkout."""
    if named := os.environ.get("HEADRACE_BREAKING_AGAINST"):
        return named
    head = git("rev-parse", "--verify", "HEAD")
    for branch in ("origin/main", "main"):
        left = git("merge-base", "HEAD", branch)
        if left and left != head:
            return left
    return git("rev-parse", "--verify", "HEAD~1") or head


def breaking(commit: str) -> int:
    """Runs `buf breaking` against the protos of `commit`; returns its exit status."""
    archive = subprocess.run(
        ["git", "archive", commit, "--", "protos", "buf.yaml"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        print(f"{commit} has no protos to compare with", file=sys.stderr)
        return 0 if git("rev-parse", "--verify", commit) else 1
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as packed:
            packed.extractall(folder, filter="data")
        lay_googleapis(Path(folder) / ".googleapis")
        return subprocess.run(["buf", "breaking", "--against", folder], cwd=ROOT, check=False).returncode


def main() -> int:
    """Compares with `base()`; returns the exit status."""
    commit = base()
    if commit is None:
        print("not a git checkout: no published contract to compare with", file=sys.stderr)
        return 0
    return breaking(commit)


if __name__ == "__main__":
    sys.exit(main())
