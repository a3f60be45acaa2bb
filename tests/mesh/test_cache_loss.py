"""Row 8: losing the cache, or the store behind it, never hurts a caller."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from headrace.local import valkey
from headrace.local.statedir import StateDir
from tests.conftest import MeshOf
from tests.support.cached import TIGHT, killed, metric, near_live, signalled, store_up, until_well
from tests.support.mesh import Mesh
from tests.support.requests import Linear
from tests.support.steady import Steady, Tally
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

NOTICED_S = 10.0
ADDED_P50_MS, ADDED_P99_MS = 10.0, 100.0
"""How much longer than before a miss may take while a level is away, beside what the model alone takes. The
promise is a p99 of 5 ms on a machine that does nothing else; the bound here is for one that does, and the figures
are printed."""

PROBES_A_SECOND, SLACK_S = 4, 2.0
"""An open breaker lets one through each second: one of the cache service's, one of each replica's."""

Fault = Callable[[Mesh], "Iterator[None]"]


@pytest.fixture
def pair(mesh_of: MeshOf) -> Iterator[Mesh]:
    """Two replicas with one cache, whole before and after."""
    running = mesh_of(TIGHT)
    until_well(running)
    yield running
    until_well(running)


def kill(service: str) -> Fault:
    """The supervisor brings it back."""

    def fault(mesh: Mesh) -> Iterator[None]:
        killed(mesh, service)
        yield

    return fault


def stall(service: str) -> Fault:
    """It accepts connections and answers nothing, until it goes on."""

    def fault(mesh: Mesh) -> Iterator[None]:
        signalled(mesh, service, signal.SIGSTOP)
        try:
            yield
        finally:
            signalled(mesh, service, signal.SIGCONT)

    return fault


def other_password(mesh: Mesh) -> Iterator[None]:
    """Valkey comes back with a password that the cache service doesn't have; in the end with the right one."""
    users = StateDir(mesh.state_dir).valkey / "users.acl"
    right = users.read_text()
    users.write_text(valkey.acl("another password"))
    try:
        killed(mesh, "valkey")
        refused = "the store refuses the user or the password"
        eventually(lambda: problem(mesh, refused), "the cache says what is wrong", NOTICED_S)
        yield
    finally:
        users.write_text(right)
        killed(mesh, "valkey")


def problem(mesh: Mesh, text: str) -> bool:
    """Whether the cache shows this text as what keeps Valkey from use."""
    return metric(mesh, mesh.services["cache"][0], "headrace_cache_level_problem", problem=text) == 1


def store_given_up(mesh: Mesh) -> bool:
    return not store_up(mesh)


def cache_given_up(mesh: Mesh) -> bool:
    return not near_live(mesh)


def store_errors(mesh: Mesh) -> float:
    return metric(mesh, mesh.services["cache"][0], "headrace_cache_errors_total", level="redis")


def cache_errors(mesh: Mesh) -> float:
    return sum(metric(mesh, one, "headrace_cache_client_errors_total") for one in mesh.services["inference"])


@dataclass(frozen=True)
class Loss:
    """What is done, what shows that it was noticed, and how often it was asked in vain; None where it is back too soon."""

    fault: Fault
    given_up: Callable[[Mesh], bool] | None = None
    errors: Callable[[Mesh], float] | None = None


LOSSES = {
    "valkey killed": Loss(kill("valkey")),
    "valkey stalled": Loss(stall("valkey"), store_given_up, store_errors),
    "valkey has another password": Loss(other_password, store_given_up, store_errors),
    "cache killed": Loss(kill("cache")),
    "cache stalled": Loss(stall("cache"), cache_given_up, cache_errors),
}


@pytest.mark.parametrize(
    "seconds", [2.0, pytest.param(20.0, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
@pytest.mark.parametrize("how", LOSSES)
def test_loss_of_a_level(pair: Mesh, linear: Linear, how: str, seconds: float) -> None:
    """No call fails, no answer is wrong, none waits for what is away; afterwards every level answers again."""
    loss = LOSSES[how]
    with Steady(pair, linear).blowing() as tally:
        time.sleep(seconds)
        before = time.monotonic()
        with contextmanager(loss.fault)(pair):
            if loss.given_up is not None:
                eventually(partial(loss.given_up, pair), f"{how}: noticed", NOTICED_S)
            noticed = time.monotonic()
            errors = loss.errors(pair) if loss.errors else 0
            time.sleep(seconds)
            mended = time.monotonic()
            in_vain = loss.errors(pair) - errors if loss.errors else 0
        until_well(pair)
        recovered = time.monotonic()
        eventually(lambda: tally.levels(recovered)["redis"], "the store answers again", NOTICED_S)
    print(f"{how}: asked in vain {in_vain:.0f} times")
    print(figures(how, tally, before=(before - seconds, before), during=(noticed, mended)))
    assert not tally.errors
    assert not tally.wrong
    assert in_vain <= PROBES_A_SECOND * (seconds + SLACK_S)
    for share, bound_ms in ((50, ADDED_P50_MS), (99, ADDED_P99_MS)):
        before_ms = tally.added_ms(share, before - seconds, before)
        assert tally.added_ms(share, noticed, mended) - before_ms < bound_ms


def figures(how: str, tally: Tally, **spans: tuple[float, float]) -> str:
    """What a miss took longer than the model alone, by span of time."""
    lines = [f"{how}: {len(tally.calls)} calls, {dict(tally.levels(0.0))}"]
    for name, (since, until) in spans.items():
        p50, p99 = (tally.added_ms(share, since, until) for share in (50, 99))
        alone = tally.took_ms("", 99, since, until)
        lines.append(
            f"  {name}: added p50 {p50:.1f} ms, p99 {p99:.1f} ms (the model alone: p99 {alone:.1f} ms)"
        )
    return "\n".join(lines)
