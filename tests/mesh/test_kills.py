"""kill -9 under load: no client sees it, and the ledger neither loses a request nor bills one twice."""

from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.conftest import MeshOf
from tests.support.ledger import Event, edge_key, settled
from tests.support.mesh import Mesh, MeshOptions
from tests.support.metered import Answer, Load, Tenant, healthy, kill, pids, priced_now, rest_body, tenant
from tests.support.requests import distinct_rows, linear, slow
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

KILLED = MeshOptions(replicas=2, config="telemetry: {sample_ratio: 0.01}\n")
UP_S = 60.0
ROWS = distinct_rows(24, seed=38)
PLAIN = [linear(ROWS[number : number + 1]) for number in range(len(ROWS))]
CACHED = [linear(ROWS[number : number + 1], model="linear-cached") for number in range(len(ROWS))]
MIXED = [request for both in zip(PLAIN, CACHED, strict=True) for request in both] + [slow(2, 1.0)]
REST = [(f"/v2/models/{model}/infer", rest_body(ROWS[0].tolist())) for model in ("linear", "linear-cached")]
IN_FLIGHT = 128


@pytest.fixture
def pair(mesh_of: MeshOf) -> Iterator[Mesh]:
    """A mesh of two replicas whose processes are killed here and nowhere else; whole before and after each test."""
    running = mesh_of(KILLED)
    whole(running)
    priced_now(running, PLAIN[0], running.demo_token)
    yield running
    whole(running)


@pytest.fixture
def callers(pair: Mesh) -> list[Tenant]:
    """Two tenants without any usage."""
    return [tenant(pair, f"killed-{uuid4().hex[:12]}") for _ in range(2)]


def whole(pair: Mesh) -> None:
    eventually(lambda: healthy(pair), "every process healthy", UP_S)


def killed_and_back(pair: Mesh, service: str, load: Load, number: int = 0) -> None:
    """Kills a process of the service while the load goes on, and waits until all are healthy again."""
    load.more(100)
    kill(before := pids(pair, service)[number])
    eventually(lambda: before not in pids(pair, service), f"{service} found dead", UP_S)
    load.more(100)
    whole(pair)
    load.more(100)


def booked(pair: Mesh, callers: list[Tenant]) -> list[Event]:
    """The tenants' events, when everything has come; the ledger must add up."""
    ledger = settled(pair)
    audit = ledger.audit()
    assert audit.sound, audit
    return ledger.events(*(caller.name for caller in callers))


def assert_each_once(events: list[Event], answers: list[Answer]) -> None:
    """The ledger has the answers' requests and no others, each once, charged as its client was told."""
    assert Counter(event.key for event in events) == Counter(edge_key(one.request_id) for one in answers)
    assert {event.key: event.paid for event in events} == {
        edge_key(one.request_id): one.cost for one in answers
    }
    assert all(event.charged for event in events)


def assert_billed_once(events: list[Event], answers: list[Answer]) -> None:
    """Each answered request is charged once; what else the ledger has is its executions elsewhere, unpaid."""
    told = {edge_key(one.request_id): one.cost for one in answers}
    assert len(told) == len(answers)
    charged = Counter(event.key for event in events if event.charged)
    assert charged == Counter(told.keys())
    assert {event.key for event in events} == told.keys()
    twice = {event.key for event in events if not event.charged}
    assert not any(event.paid for event in events if not event.charged)
    assert all(event.paid == told[event.key] for event in events if event.key not in twice)


def test_metering_killed(pair: Mesh, callers: list[Tenant]) -> None:
    """Metering dies under load and comes back: every client is answered, and every answer is in the ledger once."""
    with Load(pair, callers, MIXED, rest=REST) as load:
        killed_and_back(pair, "metering", load)
    assert load.failures == []
    assert_each_once(booked(pair, callers), load.answers)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_replica_killed(pair: Mesh, callers: list[Tenant], rounds: int) -> None:
    """Row 38: one of two replicas dies with 128 requests in flight: all are answered, charged once, none forgotten.

    What the dead one had done and not told metering waits in its outbox, which
    the supervisor's sweeper drains.
    """
    requests = [slow(steps, float(steps)) for steps in (1, 2, 3)] + PLAIN[:3]
    with Load(pair, callers, requests, threads=8, window=IN_FLIGHT // 8) as load:
        for number in range(rounds):
            killed_and_back(pair, "inference", load, number % 2)
    assert load.failures == []
    assert_billed_once(booked(pair, callers), load.answers)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_neighbours_killed(pair: Mesh, callers: list[Tenant], rounds: int) -> None:
    """Guard, cache and metering die one after the other under one load: zero errors, nothing lost or doubled."""
    with Load(pair, callers, MIXED, rest=REST) as load:
        for service in ("guard", "cache", "metering") * rounds:
            killed_and_back(pair, service, load)
    assert load.failures == []
    assert_each_once(booked(pair, callers), load.answers)
    assert {answer.level for answer in load.answers} >= {"", "near"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_neighbours_killed_together(pair: Mesh, callers: list[Tenant], rounds: int) -> None:
    """Guard, cache and metering die at the same moment: the replicas go on alone, and tell metering later."""
    with Load(pair, callers, MIXED, rest=REST) as load:
        for _ in range(rounds):
            load.more(100)
            for pid in [pid for service in ("guard", "cache", "metering") for pid in pids(pair, service)]:
                kill(pid)
            load.more(500)  # several times what is in flight: some of it came while they were dead
            whole(pair)
            load.more(100)
    assert load.failures == []
    assert_each_once(booked(pair, callers), load.answers)
