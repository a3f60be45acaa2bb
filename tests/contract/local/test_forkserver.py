"""Processes that a fork server starts are what exec would have made of them, and end as those do."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
NEWBORN = "tests.contract.local.newborn"
SECRET = "a-secret-of-one-service"


class Parent:
    """The process beside which the fork server runs, and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.local.parent", folder],
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'services'}:{ROOT}", "PASSWORD_OF_THE_SHELL": SECRET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def log(self) -> Path:
        self._logs += 1
        return self._folder / f"{self._logs}.log"

    def launch(self, module: str = NEWBORN, **env: str) -> tuple[Any, Path]:
        """A process, and its log."""
        log = self.log()
        path = f"{ROOT / 'services'}:{ROOT}"
        return self.ask("launch", module=module, env={"PYTHONPATH": path, **env}, log=str(log)), log

    def newborn(self, **env: str) -> tuple[Any, Any]:
        """A process that has told what it found, and that."""
        started, log = self.launch(**env)
        told = eventually(lambda: log.exists() and log.read_text().endswith("}\n"), "it tells", 30.0)
        assert told
        return started, json.loads(log.read_text())

    def children(self) -> dict[int, str]:
        return {int(pid): status for pid, status in self.ask("children")["children"].items()}

    def without(self, pid: int) -> None:
        """Waits until this child is none any more."""
        eventually(lambda: pid not in self.children(), "its end is heard")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    """One with a fork server; whatever it started ends with it."""
    found = Parent(tmp_path)
    yield found
    pids = [] if found.process.poll() is not None else [*found.children()]
    found.end()
    eventually(lambda: not any(map(runs, pids)), "nothing is left")


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_it_is_a_process_of_its_own(parent: Parent, tmp_path: Path) -> None:
    """Arguments, environment, descriptors, session and parent are as after exec, and it ends with its parent."""
    started, found = parent.newborn(ONLY="this")
    assert started["servers"] == 1
    assert found["main"] == "__main__"
    assert found["argv"][1:] == ["a", "b"]
    assert found["orig_argv"] == [sys.executable, "-m", NEWBORN, "a", "b"]
    assert found["environ"] == {"PYTHONPATH": f"{ROOT / 'services'}:{ROOT}", "ONLY": "this"}
    log = str(tmp_path / "1.log")
    assert found["descriptors"] == {"0": "/dev/null", "1": log, "2": log}
    assert found["parent"] == parent.process.pid
    assert found["group"] == found["session"] == started["pid"]
    assert found["dies_by"] == signal.SIGKILL
    assert found["threads"] == 1


def test_others_see_its_own_command(parent: Parent) -> None:
    """`ps` and `pgrep -f` show what it is, and not what it was forked from."""
    started, _ = parent.newborn()
    shown = [word for word in psutil.Process(started["pid"]).cmdline() if word]
    assert shown == [sys.executable, "-m", NEWBORN, "a", "b"]


def test_its_secrets_are_nobody_elses(parent: Parent) -> None:
    """What one process is told by its environment is neither its sister's nor the fork server's, nor /proc's to show; what
    the shell holds reaches none of them."""
    first, _ = parent.newborn(KEY=SECRET)
    second, found = parent.newborn()
    assert SECRET not in json.dumps(found)
    for pid in (first["pid"], second["pid"], first["server"]):
        assert SECRET.encode() not in environment(pid)


def test_two_draw_different_numbers(parent: Parent) -> None:
    """Python, numpy and uuid are seeded anew: two replicas must not draw the same ids."""
    drawn = [parent.newborn()[1]["drawn"] for _ in range(2)]
    assert all(one != other for one, other in zip(*drawn, strict=True))


def test_how_it_ended_is_told(parent: Parent) -> None:
    """An exit code, a signal, a module that is not there."""
    first, second = parent.newborn()[0]["pid"], parent.newborn()[0]["pid"]
    assert parent.ask("end", pid=first, number=signal.SIGTERM) == {"status": 7}
    assert parent.ask("end", pid=second, number=signal.SIGKILL) == {"status": -9}
    started, log = parent.launch("headrace.none")
    assert parent.ask("ended", pid=started["pid"]) == {"status": 1}
    assert "No module named headrace.none" in log.read_text()


def test_what_it_left_running_ends_with_it(parent: Parent) -> None:
    """What it started itself is the supervisor's to end when it is gone, and nothing stays as a zombie."""
    started, _ = parent.newborn(LEAVES="one", PATH=os.environ["PATH"])
    (left,) = psutil.Process(started["pid"]).children()
    assert parent.ask("end", pid=started["pid"], number=signal.SIGKILL) == {"status": -9}
    assert not runs(left.pid)
    assert parent.children() == {started["server"]: "sleeping"}


def test_everything_ends_with_the_parent(parent: Parent) -> None:
    """kill -9 of the supervisor: the fork server and all that it forked are gone."""
    started = [parent.newborn()[0] for _ in range(2)]
    pids = [*(one["pid"] for one in started), started[0]["server"]]
    parent.process.kill()
    eventually(lambda: not any(map(runs, pids)), "all are gone")


def test_services_outlive_the_fork_server(parent: Parent) -> None:
    """kill -9 of the fork server: what it forked goes on and its end is heard, and another takes its place."""
    first, _ = parent.newborn()
    psutil.Process(first["server"]).kill()
    eventually(lambda: parent.ask("server")["servers"] == 2, "another one is started")
    second, found = parent.newborn()
    assert second["server"] != first["server"]
    assert found["parent"] == parent.process.pid
    assert set(parent.children()) == {first["pid"], second["pid"], second["server"]}
    assert parent.ask("end", pid=first["pid"], number=signal.SIGTERM) == {"status": 7}


def test_without_a_fork_server_it_is_exec(parent: Parent) -> None:
    """After three that did nothing but end there is no fourth, and services are started all the same."""
    for number in (1, 2, 3):
        pid = parent.ask("server")["server"]
        psutil.Process(pid).kill()
        parent.without(pid)
        assert parent.ask("server")["servers"] == min(number + 1, 3)
    started, found = parent.newborn()
    assert found["argv"][1:] == ["a", "b"]
    assert set(parent.children()) == {started["pid"]}


def test_nobody_is_born_for_who_gave_up(parent: Parent) -> None:
    """A launch that was cancelled leaves no process behind."""
    first, _ = parent.newborn()
    parent.ask("abandon", log=str(parent.log()))
    parent.newborn()  # behind it
    eventually(lambda: len(parent.children()) == 3, "only the two and the server")
    assert set(parent.children().values()) == {"sleeping"}
    assert runs(first["pid"])


def test_closing_ends_the_fork_server_alone(parent: Parent) -> None:
    """Services go on; later ones are started by exec."""
    started, _ = parent.newborn()
    assert list(parent.ask("close")["children"]) == [str(started["pid"])]
    later, found = parent.newborn()
    assert found["argv"][1:] == ["a", "b"]
    assert set(parent.children()) == {started["pid"], later["pid"]}
