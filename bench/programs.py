"""Floors and load generators as processes of their own: what they print as JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.target import Target

TIMEOUT_S = 300


def printed(module: str, *arguments: str) -> Any:
    """What `python -m module` prints."""
    command = [sys.executable, "-m", module, *arguments]
    # What went wrong is the module's to say: its stderr is ours.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True)
    return json.loads(done.stdout)


def floor(name: str, *arguments: str) -> Any:
    """What a floor prints."""
    return printed(f"bench.floors.{name}", *arguments)


def addressed(target: Target, folder: Path) -> tuple[str, ...]:
    """The arguments that tell a load generator where to send, and as whom; the token stays out of the process list."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(target.token)
    return ("--port", str(target.port), "--token-file", str(token))
