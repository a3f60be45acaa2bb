"""Commands that tests run: to the end, with a bound, and with what they said when they fail."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandFailed(AssertionError):
    """A command that had to succeed did not; the text holds all that it printed."""


def output_of(
    command: Sequence[str | Path],
    *,
    timeout_s: float = 60.0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
) -> str:
    """The command's standard output; raises `CommandFailed` on another exit code than 0."""
    done = run(command, timeout_s=timeout_s, cwd=cwd, env=env, text=text)
    if done.returncode != 0:
        shown = " ".join(str(part) for part in command)
        raise CommandFailed(f"{shown}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def run(
    command: Sequence[str | Path],
    *,
    timeout_s: float = 60.0,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    text: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """The command, ended, whatever its exit code."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=None if env is None else dict(env),
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
