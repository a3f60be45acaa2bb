"""What `headrace up` prints in the foreground: the three commands that its reader pastes first."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.mesh import UP_TIMEOUT_S, Mesh, environment, headrace_command
from tests.support.models import write_models

COMMAND_TIMEOUT_S = 60.0
TRY, END = "try, in another terminal:\n", "Ctrl-C stops it\n"


@contextmanager
def foreground(folder: Path, env: dict[str, str], *arguments: str) -> Iterator[list[str]]:
    """`headrace up` in `folder`, as in a terminal; the lines that it printed by the time it was ready."""
    with subprocess.Popen(
        [str(part) for part in headrace_command("up", "--port", "0", *arguments)],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield list(_until_ready(process))
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(UP_TIMEOUT_S) == 0


def _until_ready(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout
    for line in process.stdout:
        yield line
        if line == END:
            return
    raise AssertionError(f"ended with {process.wait()} before it was ready")


@pytest.mark.parametrize("state", [pytest.param(".headrace", marks=pytest.mark.slow), "an other"])
def test_each_can_be_pasted(state: str, mesh: Mesh, grpcurl: Path) -> None:
    """In the same directory each of the three ends 0 and answers, wherever the state is, spaces in its name included."""
    search = f"{Path(sys.executable).parent}:{grpcurl.parent}:{os.environ['PATH']}"
    env = environment({"PATH": search})
    # Not pytest's tmp_path: a socket's path may have 107 bytes only.
    with tempfile.TemporaryDirectory(prefix="hr-", dir="/tmp") as name:
        folder = Path(name)
        write_models(folder / state / "models", mesh.state_dir / "models")
        elsewhere = [] if state == ".headrace" else ["--state-dir", state]
        with foreground(folder, env, *elsewhere) as lines:
            commands = [line.strip() for line in lines[lines.index(TRY) + 1 :] if line.startswith("  ")]
            answers = [
                run(["bash", "-euc", command], cwd=folder, env=env, timeout_s=COMMAND_TIMEOUT_S)
                for command in commands
            ]
    assert [answer.returncode for answer in answers] == [0, 0, 0], answers
    inferred, described, listed = (answer.stdout for answer in answers)
    assert "embedding" in inferred
    assert '"name":"minilm"' in described.replace(" ", "")
    assert "inference.GRPCInferenceService" in listed.splitlines()
