"""Whom `headrace chaos` breaks, and what it says of it."""

import io
import json
import random
from collections import Counter

import pytest

from headrace.cli.calls import Counted
from headrace.cli.chaos import WATCH, Fault, Seen, chosen, show
from headrace.cli.errors import CliError
from headrace.cli.output import Output
from headrace.local.v1.process_pb2 import Process

GUARD = Process(name="guard", service="guard", pid=7)
REPLICAS = [Process(name=f"inference-{number}", service="inference", pid=10 + number) for number in range(3)]
PROCESSES = [GUARD, *REPLICAS, Process(name="cache", service="cache")]
BACK = Process(name="guard", service="guard", pid=8, restarts=1)


def pick(name: str, seed: int = 0) -> Process:
    return chosen(PROCESSES, name, random.Random(seed))


def printed(fault: Fault, seen: Seen, counted: Counted | None, *, as_json: bool) -> str:
    out = io.StringIO()
    show(fault, seen, counted, Output(as_json=as_json, out=out, err=io.StringIO()))
    return out.getvalue()


def test_a_process_by_its_name() -> None:
    """The very one."""
    assert pick("guard") == GUARD
    assert pick("inference-2") == REPLICAS[2]


def test_a_service_is_any_of_its_processes() -> None:
    """Each of its replicas at some time, never anybody else."""
    found = {pick("inference", seed).name for seed in range(50)}
    assert found == {one.name for one in REPLICAS}


@pytest.mark.parametrize("name", ["nobody", "supervisor", "7", "1", "", "inference-9", "../guard"])
def test_what_is_not_the_supervisors_is_refused(name: str) -> None:
    """A name that its list lacks, a process number too."""
    with pytest.raises(CliError, match="is no process of this mesh"):
        pick(name)


def test_what_does_not_run_is_refused() -> None:
    """Pid 0 is never signalled: it would be our own group."""
    with pytest.raises(CliError, match="does not run now"):
        pick("cache")


def test_every_service_has_its_expectation() -> None:
    """What to watch is said for every process of a mesh."""
    services = {"gateway", "inference", "cache", "valkey", "guard", "metering", "scaling", "insight"}
    assert services == WATCH.keys()


def test_a_kill_in_json() -> None:
    """The stable shape."""
    seen = Seen(GUARD, BACK, 0.1234, 1.5678)
    counted = Counted(40, Counter({"UNAVAILABLE": 2}))
    document = json.loads(printed(Fault("guard", None, 100), seen, counted, as_json=True))
    assert document == {
        "action": "kill",
        "process": "guard",
        "service": "guard",
        "pid": 7,
        "pid_after": 8,
        "restarts": 1,
        "lasted_s": None,
        "restarted_s": 0.123,
        "healthy_s": 1.568,
        "watch": WATCH["guard"],
        "calls": {"sent": 40, "failed": {"UNAVAILABLE": 2}},
    }


def test_a_stop_in_words() -> None:
    """Says what was done, how long it took and whether calls failed."""
    text = printed(Fault("guard", 2.0, 100), Seen(GUARD, GUARD, None, 2.1), Counted(40), as_json=False)
    assert "held for 2 s guard (pid 7)" in text
    assert "restarted" not in text
    assert "healthy after 2.10 s" in text
    assert "40 calls meanwhile, none failed" in text


def test_without_load_no_calls() -> None:
    """Nothing is said of calls that were not made."""
    seen = Seen(GUARD, BACK, 0.1, 1.5)
    assert json.loads(printed(Fault("guard", None, 0), seen, None, as_json=True))["calls"] is None
    assert "calls" not in printed(Fault("guard", None, 0), seen, None, as_json=False).replace(
        "calls go on", ""
    )
