"""A mesh of its own that is broken in every way, brought up again, taken down, and judged."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from headrace.inference.demo.catalogue import demo_models
from headrace.inference.demo.layout import lay_out
from headrace.local.ports import is_free
from headrace.local.statedir import StateDir
from tests.chaos.checker import Booked, Verdict, judged
from tests.chaos.faults import Processes, catalogue, let_us_in
from tests.chaos.history import History, read
from tests.chaos.load import CROWD, Asks, Load, Profile
from tests.chaos.policy import AFTERWARDS_S, REFUSALS
from tests.chaos.run import Run, Tell
from tests.chaos.schedule import rounds
from tests.support.ledger import Ledger, outboxes
from tests.support.mesh import UP_TIMEOUT_S, Mesh, MeshOptions, headrace, running_mesh
from tests.support.metered import priced_now, tenant
from tests.support.models import write_models
from tests.support.place import Place
from tests.support.requests import Linear, distinct_rows, linear
from tests.support.waiting import eventually

GONE_S = 10.0
TENANTS = ("plain", "keyed")
KILL_REPLICA = "kill inference"


@dataclass(frozen=True, slots=True)
class Script:
    """What is done, in this order: `rounds` of every fault, `crowded` kills of a replica with 128 calls in flight,
    the supervisor killed and the mesh brought up again.

    `only` are the kinds of the first part, empty for all; where `rounds` is None each comes once. After `seconds`
    no further round begins.
    """

    seed: int
    rounds: int | None = None
    crowded: int = 0
    only: Sequence[str] = ()
    seconds: float = float("inf")


@contextmanager
def small_mesh(models: Path) -> Iterator[Mesh]:
    """Two replicas of small models, which start quickly; `models` is a new directory for them."""
    lay_out(models, models=[one for one in demo_models() if one.wheel is None])
    write_models(models, None)
    config = f"inference: {{repository: {models}}}\ntelemetry: {{sample_ratio: 0.01}}\n"
    with running_mesh(MeshOptions(replicas=2, config=config)) as mesh:
        yield mesh


def play(mesh: Mesh, models: Path, file: Path, script: Script, tell: Tell) -> Verdict:
    """Runs the script and takes the mesh down; the history is written to `file`, which must not be there.

    The verdict's ledger is that of the mesh that has ended: whatever an outbox held has been sent.
    """
    callers = [tenant(mesh, f"{name}-{uuid4().hex[:12]}") for name in TENANTS]
    with History(file, time.monotonic) as history:
        load = Load(mesh, history, Asks(Linear(models), script.seed), callers)
        run = Run(mesh, history, load, tell=tell)
        with ExitStack() as stack:
            processes = Processes(mesh)
            stack.callback(processes.close)
            let_us_in(mesh, processes)
            priced_now(mesh, linear(distinct_rows(1)), mesh.demo_token)
            _strike(run, load, processes, script)
        _end_and_begin(mesh, history, load)
    headrace("down", "--state-dir", mesh.state_dir)
    if left := outboxes(mesh.state_dir):
        raise AssertionError(f"down left outboxes: {left}")
    return verdict(file, StateDir(mesh.state_dir).ledger, [one.name for one in callers])


def verdict(file: Path, ledger: Path, tenants: Sequence[str]) -> Verdict:
    """What a history and a ledger say of each other."""
    books = Ledger(ledger)
    booked = [
        Booked(one.tenant, one.key, one.answered, one.charged, one.paid, one.price)
        for one in books.events(*tenants)
    ]
    sound = books.audit().sound
    return judged(read(file), booked, sound=sound, allowed=REFUSALS, afterwards_s=AFTERWARDS_S)


def _strike(run: Run, load: Load, processes: Processes, script: Script) -> None:
    faults = catalogue(processes.services())
    with load.on(Profile()):
        kinds = script.only or list(faults)
        drawn = rounds(script.seed, len(kinds) if script.rounds is None else script.rounds, kinds)
        run.strike(drawn, faults, processes, until_s=script.seconds)
    if script.crowded:
        with load.on(CROWD):
            drawn = rounds(script.seed, script.crowded, [KILL_REPLICA])
            run.strike(drawn, faults, processes, until_s=script.seconds)


def _end_and_begin(mesh: Mesh, history: History, load: Load) -> None:
    """Kill -9 of the supervisor, while metering has not taken all; then `up` in the same directory.

    Nothing is left of the first mesh; the second takes the same tokens, and has what the first one owed metering.
    """
    place = Place(StateDir(mesh.state_dir))
    with history.fault("kill supervisor", ["supervisor"]):
        with load.on(Profile()):
            load.answers(20)
            os.kill(place.pid("metering"), signal.SIGSTOP)
            load.answers(20)
            record = place.state.supervisor()
            assert record
            os.kill(record.pid, signal.SIGKILL)
            eventually(place.nothing_left, "everything is gone", GONE_S)
            load.refusals(1)
        assert all(is_free(int(one.rpartition(":")[2])) for one in _addresses(mesh))
        assert place.state.record.exists(), "stale: nobody was left to remove it"
        assert outboxes(mesh.state_dir), "metering had taken all"
        again = _up_again(mesh)
    load.moved(again)
    with load.on(Profile()):
        load.answers(200)
    assert (again.state_dir / "demo.token").read_text().strip() == mesh.demo_token


def _addresses(mesh: Mesh) -> list[str]:
    return [mesh.gateway, *(one for addresses in mesh.services.values() for one in addresses)]


def _up_again(mesh: Mesh) -> Mesh:
    arguments: list[str | Path] = [
        "--detach",
        "--json",
        "--port",
        "0",
        "--replicas",
        "2",
        "--state-dir",
        mesh.state_dir,
    ]
    document = json.loads(
        headrace("up", *arguments, "--config", mesh.state_dir / "headrace.yaml", timeout_s=UP_TIMEOUT_S)
    )
    return Mesh(document["gateway"], document["services"], mesh.state_dir)


def shown(found: Verdict, tell: Callable[[str], None]) -> None:
    """The verdict in lines."""
    tell(f"{'':4}  {'fault':28} {'rounds':>6} {'calls':>7} {'answered':>9} {'longest':>9}")
    for kind, share in found.shares.items():
        answered = f"{share.answered / share.calls:9.3%}" if share.calls else f"{'-':>9}"
        tell(f"{'':4}  {kind:28} {share.faults:6} {share.calls:7} {answered} {share.longest_s:7.1f} s")
    refused = ", ".join(f"{count} {code}" for code, count in found.refused.items()) or "none"
    tell(
        f"{found.calls} calls, {found.answered} answered, refused: {refused}; "
        f"executed again and not billed: {found.repeats}; told no cost: {found.untold}"
    )
    for violation in found.violations[:20]:
        tell(f"VIOLATION: {violation}")
    tell(f"{len(found.violations)} violations")
