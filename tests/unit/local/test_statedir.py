"""The state directory: who owns it, and what is left in it."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from headrace.cli.output import Output
from headrace.cli.up import down
from headrace.local.child import identity_of
from headrace.local.errors import StartFault
from headrace.local.statedir import (
    StateDir,
    SupervisorRecord,
    clear_run,
    locked,
    prepare,
    write_atomically,
    write_record,
)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    found = StateDir(tmp_path / "s")
    prepare(found)
    return found


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_private(state: StateDir) -> None:
    """Directories are made 0700, and made so again when somebody opened them."""
    state.root.chmod(0o755)
    prepare(state)
    for directory in (state.root, state.run, state.logs, state.keys, state.models, state.envoy):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(("length", "good"), [(107, True), (108, False)])
def test_socket_paths(tmp_path: Path, length: int, *, good: bool) -> None:
    """The longest socket path may have 107 bytes and not one more; nothing is made otherwise."""
    rest = length - len(os.fsencode(tmp_path)) - len("//run/inference-999.grpc.sock")
    state = StateDir(tmp_path / ("x" * rest))
    if good:
        prepare(state)
    else:
        with pytest.raises(StartFault, match="would have 108"):
            prepare(state)
        assert not state.root.exists()


def test_file_in_the_way(tmp_path: Path) -> None:
    """A state directory that can't be made says why."""
    (tmp_path / "s").write_text("")
    with pytest.raises(StartFault, match="can't use the state directory"):
        prepare(StateDir(tmp_path / "s"))


def test_one_supervisor(state: StateDir) -> None:
    """The lock is for one at a time, and free again after its holder."""
    with locked(state), pytest.raises(BlockingIOError), locked(state):
        pass
    with locked(state):
        pass


def test_record(state: StateDir) -> None:
    """The record names this very process."""
    write_record(state, "127.0.0.1:1")
    record = state.supervisor()
    assert record
    assert (record.pid, record.gateway) == (os.getpid(), "127.0.0.1:1")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}'])
def test_broken_record(state: StateDir, content: bytes) -> None:
    """A record that can't be read counts as none."""
    state.record.write_bytes(content)
    assert state.supervisor() is None


def test_pid_of_somebody_else(state: StateDir, bystander: "subprocess.Popen[bytes]") -> None:
    """A pid that belongs to another process by now is never killed."""
    record = SupervisorRecord(bystander.pid, "another boot:1")
    write_atomically(state.record, msgspec.json.encode(record))
    assert state.supervisor() is None
    down(state, Output(as_json=True))
    assert bystander.poll() is None


def test_identity(bystander: "subprocess.Popen[bytes]") -> None:
    """A process keeps its identity, no two have the same, and one that has ended has none."""
    first = identity_of(bystander.pid)
    assert first == identity_of(bystander.pid) != identity_of(os.getpid())
    bystander.kill()
    bystander.wait()
    assert identity_of(bystander.pid) == ""


def test_stale_run(state: StateDir) -> None:
    """What a dead supervisor left in run/ goes; keys and models stay."""
    (state.run / "a.sock").touch()
    (state.run / "folder").mkdir()
    (state.keys / "k.pem").touch()
    write_record(state, "")
    clear_run(state)
    assert list(state.run.iterdir()) == []
    assert not state.record.exists()
    assert (state.keys / "k.pem").exists()
