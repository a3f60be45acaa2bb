"""A state directory in which a test starts and ends a mesh by the command, and looks at what is left."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from headrace.local.statedir import StateDir
from tests.support.cache import ROOT
from tests.support.commands import run
from tests.support.mesh import environment, headrace_command

UP_S = 60.0


@dataclass(frozen=True)
class Place:
    """A state directory of its own, whose mesh has one small model."""

    state: StateDir

    def arguments(self, *arguments: str) -> list[str]:
        config = self.state.root / "headrace.yaml"
        return [*arguments, "--port", "0", "--state-dir", str(self.state.root), "--config", str(config)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(headrace_command(*arguments), env=environment({}), timeout_s=UP_S, cwd=ROOT)

    def up(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*self.arguments("up", "--detach", "--json", *arguments))
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def foreground(self) -> "subprocess.Popen[str]":
        """`headrace up` in a session of its own, once it has printed all that it has to say of a start."""
        process = subprocess.Popen(
            [str(part) for part in headrace_command(*self.arguments("up"))],
            cwd=ROOT,
            env=environment({}),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout
        for line in process.stdout:
            if line.startswith("Ctrl-C stops it"):
                return process
        raise AssertionError(f"ended with {process.wait()} before it was ready")

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("down", "--state-dir", str(self.state.root))

    def processes(self) -> list[psutil.Process]:
        """Supervisor, services and Envoy of this place, by their command lines and environments."""
        return [process for process in psutil.process_iter() if self._ours(process)]

    def _ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            texts = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            return False
        return any(str(self.state.root) in text for text in texts)

    def nothing_left(self) -> bool:
        """No process, and no socket that anybody listens on."""
        listening = Path("/proc/net/unix").read_text()
        return not self.processes() and str(self.state.root) not in listening

    def ask(self, *arguments: str) -> dict[str, Any]:
        """What a command prints with --json; the mesh must run."""
        done = self.run(*arguments, "--json", "--state-dir", str(self.state.root))
        assert done.returncode == 0, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def pid(self, name: str) -> int:
        """A process of the mesh, as `headrace status` lists it."""
        (found,) = [one for one in self.ask("status")["processes"] if one["name"] == name]
        return int(found["pid"])

    def configure(self, text: str) -> None:
        """Adds to headrace.yaml."""
        with (self.state.root / "headrace.yaml").open("a") as file:
            file.write(text)


@contextmanager
def new_place(models: Path) -> Iterator[Place]:
    """A place with one small model of `models`; nothing of it is left afterwards."""
    # Not below pytest's tmp_path: a socket's path may have 107 bytes only.
    root = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    shutil.copytree(models / "linear", root / "own" / "linear")
    (root / "headrace.yaml").write_text(f"inference: {{repository: {root / 'own'}}}\n")
    found = Place(StateDir(root))
    yield found
    found.down()
    assert found.nothing_left()
    shutil.rmtree(root)
