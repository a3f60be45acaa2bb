"""The supervisor with real processes: nothing left behind, whatever ends it."""

import json
import os
import shlex
import signal
import stat
import subprocess

import pytest

from headrace.local.statedir import StateDir
from tests.support.cache import ROOT
from tests.support.commands import run
from tests.support.mesh import Mesh as Running
from tests.support.mesh import environment, headrace_command
from tests.support.place import UP_S, Place
from tests.support.waiting import eventually

pytestmark = pytest.mark.mesh

GONE_S = 5.0


def test_second_up_and_down(place: Place) -> None:
    """A second `up` says where the mesh is and starts nothing; `down` leaves nothing, a second one has nothing to do.

    The first one's reader leaves (`| head -1`): the mesh is on its own by then.
    """
    command = " ".join(
        shlex.quote(str(part)) for part in headrace_command(*place.arguments("up", "--detach"))
    )
    done = run(["bash", "-c", f"{command} | head -1"], env=environment({}), timeout_s=UP_S, cwd=ROOT)
    assert done.stdout.startswith("ready in")
    first = place.up()
    before = {process.pid for process in place.processes()}
    second = place.up()
    assert second["already_up"] is True
    assert {key: second[key] for key in first} == first
    assert {process.pid for process in place.processes()} == before
    done = place.down()
    assert (done.returncode, done.stdout) == (0, "stopped\n")
    assert place.nothing_left()
    assert list(place.state.run.iterdir()) == []
    assert not place.state.record.exists()
    assert "no mesh runs" in place.down().stdout


def test_everybody_waits_for_a_turn(place: Place) -> None:
    """No process of a mesh, with all of its threads, takes the processor from another one as it wakes."""
    place.up()
    policies = {
        (process.name(), os.sched_getscheduler(thread.id))
        for process in place.processes()
        for thread in process.threads()
    }
    assert {policy for _, policy in policies} == {os.SCHED_BATCH}
    assert len(place.processes()) >= 8


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_signals_to_the_foreground(place: Place, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal end the mesh in good order: it says so at last, exit code 0, nothing left."""
    with place.foreground() as process:
        process.send_signal(number)
        assert process.wait(UP_S) == 0
        assert process.stdout
        assert process.stdout.read().splitlines()[-1] == "stopped"
    assert place.nothing_left()


@pytest.mark.chaos
def test_kill_of_the_foreground(place: Place) -> None:
    """kill -9 of `headrace up` ends the mesh too."""
    with place.foreground() as process:
        process.kill()
        eventually(place.nothing_left, "everything is gone", UP_S)


def test_interrupted_start(place: Place) -> None:
    """SIGTERM before the mesh is ready ends it at once and leaves nothing."""
    command = [str(part) for part in headrace_command(*place.arguments("up"))]
    with subprocess.Popen(command, cwd=ROOT, env=environment({}), stdout=subprocess.DEVNULL) as process:
        eventually(lambda: place.state.log("insight").exists(), "the start has begun", UP_S)
        process.terminate()
        process.wait(UP_S)
    eventually(place.nothing_left, "everything is gone", GONE_S)


def test_port_clash(place: Place, mesh: Running) -> None:
    """A taken port: exit code 1, who holds it, what to do; nothing left running."""
    port = mesh.gateway.rpartition(":")[2]
    done = place.run("up", "--detach", "--json", "--port", port, "--state-dir", str(place.state.root))
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert port in error["what"]
    assert f"pid {mesh.pids('gateway')[0]}" in error["why"]
    assert "--port 0" in error["next"]


def test_service_that_can_not_start(place: Place) -> None:
    """A service that ends at once fails `up` with its own last line, and takes the rest down."""
    env = environment({"HEADRACE_INSIGHT_QUEUE_BYTES": "many"})
    command = headrace_command(*place.arguments("up", "--detach", "--json"))
    done = run(command, env=env, timeout_s=UP_S, cwd=ROOT)
    assert done.returncode == 1
    error = json.loads(done.stdout)["error"]
    assert "insight" in error["what"]
    assert "HEADRACE_INSIGHT_QUEUE_BYTES" in error["why"]
    assert place.nothing_left()


def test_private_files(mesh: Running) -> None:
    """Directories are 0700, sockets and tokens 0600."""
    state = StateDir(mesh.state_dir)
    for directory in (
        state.root,
        state.run,
        state.keys,
        state.valkey,
        state.outbox,
        state.metering,
        state.guard,
        state.scaling,
        state.control,
    ):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    secrets = (
        state.cache_key,
        state.valkey_password,
        state.valkey / "valkey.conf",
        state.valkey / "users.acl",
    )
    in_run = [path for path in state.run.rglob("*") if not path.is_dir()]
    for file in (*in_run, state.operator_token, state.demo_token, *secrets):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
