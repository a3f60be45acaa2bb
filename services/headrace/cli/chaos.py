"""`headrace chaos kill` and `stop`: breaks one process of a mesh, and watches how it comes back.

Signals only what the supervisor lists, and only through a handle that was
opened before the supervisor was asked again: never a later process that has
the same number.
"""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.cli.calls import Calls, Counted
from headrace.cli.errors import CliError
from headrace.cli.mesh import healthy, listed, state_of
from headrace.cli.output import Output
from headrace.local.statedir import StateDir
from headrace.local.v1.process_pb2 import Process

BACK_S = 60.0
POLL_S = 0.02
AROUND_S = 0.5
"""How long calls are made before the fault and after it."""

WATCH = {
    "gateway": "clients lose their connections and are refused until it is back",
    "inference": "calls that had no answer are tried on another replica; with only one, they are refused meanwhile",
    "cache": "a miss: answers are computed",
    "valkey": "a miss: answers are computed",
    "guard": "leases run on, then each replica allows its share of the last known limits",
    "metering": "calls go on, usage waits in the outboxes and is booked afterwards: `headrace cost`",
    "scaling": "the last endpoints and the number of replicas hold",
    "insight": "calls go on; spans are dropped and counted",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is to be done to whom: `name` is a process, or a service for any one of its processes.

    `lasts_s` is how long a stopped one is held, None for kill -9. `calls_per_s` are made meanwhile, 0 for none.
    """

    name: str
    lasts_s: float | None
    calls_per_s: int


@dataclass(frozen=True, slots=True)
class Seen:
    """How it went: the process before and after, and the seconds from the signal until another ran and was healthy."""

    before: Process
    after: Process
    restarted_s: float | None
    healthy_s: float


def chaos(fault: Fault, state_dir: Path, output: Output) -> None:
    """Does it, waits until the process is healthy again, and says what was seen."""
    state = state_of(state_dir)
    victim = chosen(listed(state).processes, fault.name, random.SystemRandom())
    with Calls.during(state, fault.calls_per_s, AROUND_S) as calls:
        output.progress(f"{_verb(fault)} {victim.name} (pid {victim.pid})")
        seen = _broken(state, victim, fault.lasts_s)
    show(fault, seen, calls.counted if fault.calls_per_s else None, output)


def chosen(processes: Sequence[Process], name: str, draw: random.Random) -> Process:
    """A running process of this name, or any one of the service's; raises CliError."""
    found = [one for one in processes if name in (one.name, one.service)]
    if not found:
        known = ", ".join(dict.fromkeys(one.name for one in processes))
        raise CliError(
            f"{name} is no process of this mesh",
            f"its supervisor has {known}",
            "name one of them; the supervisor itself goes with `headrace down`",
        )
    if not (running := [one for one in found if one.pid]):
        raise CliError(
            f"{name} does not run now",
            "it was stopped, or waits to be started again",
            "see `headrace status`",
        )
    return draw.choice(running)


def _broken(state: StateDir, victim: Process, lasts_s: float | None) -> Seen:
    with _handle(state, victim) as handle:
        began = time.monotonic()
        if lasts_s is None:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            return _until_back(state, victim, began)
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        try:
            time.sleep(lasts_s)
        finally:
            signal.pidfd_send_signal(handle, signal.SIGCONT)
        return _until_healthy(state, victim, began, None)


@contextmanager
def _handle(state: StateDir, victim: Process) -> Iterator[int]:
    """The kernel's handle of exactly this process; raises CliError when it is gone.

    The supervisor is asked again once the handle is there: until it has taken
    note of a child's end, that child's pid can't be another's.
    """
    try:
        handle = os.pidfd_open(victim.pid)
    except ProcessLookupError:
        raise _gone(victim) from None
    try:
        if all((one.name, one.pid) != (victim.name, victim.pid) for one in listed(state).processes):
            raise _gone(victim)
        yield handle
    except ProcessLookupError:
        raise _gone(victim) from None
    finally:
        os.close(handle)


def _gone(victim: Process) -> CliError:
    return CliError(
        f"{victim.name} is gone", f"pid {victim.pid} ended by itself", "see `headrace status`, and try again"
    )


def _until_back(state: StateDir, victim: Process, began: float) -> Seen:
    """Waits for another process in its place, then for its health."""
    while _now(state, victim).pid in (0, victim.pid):
        _pause(victim, began)
    return _until_healthy(state, victim, began, time.monotonic() - began)


def _until_healthy(state: StateDir, victim: Process, began: float, restarted_s: float | None) -> Seen:
    while not healthy(now := _now(state, victim)):
        _pause(victim, began)
    return Seen(victim, now, restarted_s, time.monotonic() - began)


def _now(state: StateDir, victim: Process) -> Process:
    for one in listed(state).processes:
        if one.name == victim.name:
            return one
    raise _gone(victim)


def _pause(victim: Process, began: float) -> None:
    if time.monotonic() - began > BACK_S:
        raise CliError(
            f"{victim.name} is not back after {BACK_S:.0f} s",
            "it does not become healthy",
            f"see `headrace status` and its log, {victim.name}.log",
        )
    time.sleep(POLL_S)


def show(fault: Fault, seen: Seen, counted: Counted | None, output: Output) -> None:
    """Prints what was seen."""
    before, after = seen.before, seen.after
    output.document(
        {
            "action": "stop" if fault.lasts_s is not None else "kill",
            "process": before.name,
            "service": before.service,
            "pid": before.pid,
            "pid_after": after.pid,
            "restarts": after.restarts,
            "lasted_s": fault.lasts_s,
            "restarted_s": _rounded(seen.restarted_s),
            "healthy_s": _rounded(seen.healthy_s),
            "watch": WATCH.get(before.service, ""),
            "calls": None if counted is None else {"sent": counted.sent, "failed": counted.failed},
        }
    )
    output.text(
        f"{_past(fault)} {before.name} (pid {before.pid}); what to expect: {WATCH.get(before.service, '-')}"
    )
    if seen.restarted_s is not None:
        output.text(f"restarted as pid {after.pid} after {seen.restarted_s:.2f} s")
    output.text(f"healthy after {seen.healthy_s:.2f} s")
    if counted is not None:
        failed = ", ".join(f"{number} {code}" for code, number in counted.failed.items()) or "none failed"
        output.text(f"{counted.sent} calls meanwhile, {failed}")


def _verb(fault: Fault) -> str:
    return "kill -9" if fault.lasts_s is None else f"holding for {fault.lasts_s:g} s"


def _past(fault: Fault) -> str:
    return "killed" if fault.lasts_s is None else f"held for {fault.lasts_s:g} s"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
