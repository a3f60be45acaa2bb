"""The mesh under measurement: started fresh, asked what it needs, stopped."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.target import Target

START_TIMEOUT_S = 120
MIB = 2**20
CONFIG = Path(__file__).with_name("headrace.yaml")
OFF = Path(__file__).with_name("off.yaml")
ALONE = Path(__file__).with_name("alone.yaml")


class MeshFailed(Exception):
    """The mesh didn't come up."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh. `start_s` is from its command to its ready line."""

    supervisor: psutil.Process
    config: Path
    state_dir: Path
    target: Target
    start_s: float

    def model_file(self, model: str, name: str) -> Path:
        """A file of the first version of a model."""
        return self.state_dir / "models" / model / "1" / name

    def memory(self) -> dict[str, int]:
        """Bytes of every process; memory that several share is split among them (PSS)."""
        processes = [self.supervisor, *self.supervisor.children(recursive=True)]
        found: dict[str, int] = {}
        for process in processes:
            name = _name(process.cmdline())
            found[name] = found.get(name, 0) + process.memory_full_info().pss
        return found


@contextmanager
def running(state_dir: Path, config: Path = CONFIG) -> Iterator[Mesh]:
    """A mesh on free ports, ended on leaving."""
    command = ["env", f"HEADRACE_LOCAL_STATE_DIR={state_dir}", f"HEADRACE_LOCAL_CONFIG={config}"]
    command += ["HEADRACE_LOCAL_PORT=0", sys.executable, "-m", "headrace.local"]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            document = _until_ready(process)
            start_s = time.monotonic() - begun
            yield Mesh(psutil.Process(process.pid), config, state_dir, _target(document, state_dir), start_s)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _until_ready(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    assert process.stdout
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "ready":
            document: dict[str, str] = event["document"]
            return document
        if event["event"] == "failed":
            raise MeshFailed(f"{event['what']}: {event['why']}; {event['next']}")
    raise MeshFailed("the supervisor ended; `headrace doctor` may say why")


def _target(document: dict[str, str], state_dir: Path) -> Target:
    token = Path(document["token_file"]).read_text().strip()
    port = int(document["gateway"].rpartition(":")[2])
    return Target("headrace", port, state_dir / "run" / "envoy-admin.sock", "inference-hot", token)


def _name(command: list[str]) -> str:
    """`inference` of `python -m headrace.inference`; the program's name otherwise."""
    module = next((word for word in command if word.startswith("headrace.")), "")
    return module.removeprefix("headrace.") or Path(command[0] if command else "?").name
