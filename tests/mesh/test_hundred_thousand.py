"""Row 12 against the running mesh: a hundred thousand requests of every kind, and what became of each of them.

The core's own form is tests/unit/inference/test_hundred_thousand.py.
"""

import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.inference.v1.explain_service_pb2 import ExplainModelRequest
from headrace.inference.v1.explain_service_pb2_grpc import ExplainServiceStub
from headrace.inference.v1.explanation_pb2 import ModelExplanation
from headrace.inference.v2.grpc_service_pb2 import ModelStatistics, ModelStatisticsRequest
from headrace.metering.core.rows import hashed
from headrace.metering.usage import UsageKind
from tests.support.crowd import TENANTS, Crowd, wish_of
from tests.support.ledger import Event, settled
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer, running_mesh
from tests.support.mixed import MIXED, repository_with_mixed
from tests.support.waiting import eventually

REQUESTS = 100_000
LIMITS = """\
limits:
  rate: 1000000
  burst: 1000000
  concurrency: 100000
  breaker: {failures: 10000}
  tenants: {a: {weight: 4}, b: {weight: 2}}
"""
LEFT_S = 1.0
"""How long after its caller left a request's batch may have ended: the way of the news, and the longest batch."""

GONE = ("left", "late")
"""Endings of which the replica heard from afar, and so may have had the request in a batch."""


@pytest.fixture
def mixed_mesh(mesh: Mesh) -> Iterator[Mesh]:
    """A mesh of its own, with `mixed` in its repository: its ledger has nobody else's requests."""
    folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    try:
        models = repository_with_mixed(mesh.state_dir / "models", folder / "models")
        with running_mesh(MeshOptions(limits=LIMITS, models_from=models)) as running:
            yield running
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_every_call_ends_once_and_is_executed_for_its_caller_alone(mixed_mesh: Mesh) -> None:
    """100,000 calls: each ends once, with its own answer or an ending that it asked for; the ledger has each at most once.

    A replica hears that a caller has left when the news arrives: nothing of a caller who left or was
    too late is executed later than that, and nothing at all of those whom the replica itself refused.
    """
    crowd, began = Crowd(), time.monotonic()
    await crowd.ask(mixed_mesh, REQUESTS)
    took = time.monotonic() - began
    assert not crowd.wrong, (len(crowd.wrong), crowd.wrong[:20])
    assert crowd.endings.keys() == set(range(REQUESTS))
    found = eventually(lambda: _at_rest(mixed_mesh), "nothing waits", 60.0)
    events = defaultdict(list)
    for event in settled(mixed_mesh).events(*TENANTS):
        events[event.key].append(event)
    lags = _check_events(crowd, events)
    _check_counts(crowd, events, found, _statistics(mixed_mesh))
    how = Counter(ending.how for ending in crowd.endings.values())
    print(f"\n{REQUESTS / took:.0f} calls/s; {dict(how)}")
    print(
        f"batches {found.counts.batches}, executed {found.counts.executed}, left in the queue {found.counts.left}"
    )
    print(f"executed for who had left {len(lags)}, the last {max(lags, default=0.0) * 1e3:.0f} ms after")
    assert set(how) >= {"answered", "failed", "expired", "DEADLINE_INFEASIBLE", "QUEUE_FULL", *GONE}, how


def _check_events(crowd: Crowd, events: dict[bytes, list[Event]]) -> list[float]:
    """The ledger has of each call what its ending says; seconds from each leave to the end of its batch."""
    wrong, lags = [], []
    known = {}
    for number, ending in crowd.endings.items():
        wish = wish_of(number)
        key = hashed(b"c" + wish.key.encode())
        known[key] = number
        mine = events.get(key, [])
        kinds = [event.kind for event in mine]
        match ending.how:
            case "answered":
                fine = kinds == [UsageKind.EXECUTED] and mine[0].charged and mine[0].tenant == wish.tenant
            case "failed":
                fine = kinds == [UsageKind.FAILED] and mine[0].paid == 0
            case "left" | "late":
                late = [event.time_ms / 1e3 - ending.left_ns / 1e9 for event in mine]
                lags += late
                fine = len(mine) <= 1 and max(late, default=0.0) <= LEFT_S
            case _:
                fine = not mine
        if not fine:
            wrong.append((number, ending, mine))
    assert not wrong, (len(wrong), wrong[:10])
    assert not events.keys() - known.keys(), "executed for nobody"
    return lags


def _check_counts(
    crowd: Crowd, events: dict[bytes, list[Event]], found: ModelExplanation, told: ModelStatistics
) -> None:
    """What the replica counted is what the ledger has and what the callers saw."""
    counts = found.counts
    kinds = Counter(event.kind for (event,) in events.values())
    rows = Counter[UsageKind]()
    for (event,) in events.values():
        rows[event.kind] += event.rows
    how = Counter(ending.how for ending in crowd.endings.values())
    assert counts.mixed_up == 0
    assert counts.executed == sum(kinds.values()), kinds
    assert told.inference_stats.success.count == kinds[UsageKind.EXECUTED]
    assert rows[UsageKind.EXECUTED] <= told.inference_count
    assert told.inference_count <= rows[UsageKind.EXECUTED] + rows[UsageKind.CANCELLED]
    # A refusal may cross its caller's leave: the replica counts it, and the caller has gone.
    assert counts.refused_full >= how["QUEUE_FULL"]
    assert counts.refused_infeasible >= how["DEADLINE_INFEASIBLE"]
    ended = told.inference_stats.success.count + told.inference_stats.fail.count
    assert ended <= REQUESTS
    assert REQUESTS - ended <= how["left"] + how["late"], "somebody was told what nobody counted"


def _at_rest(mesh: Mesh) -> ModelExplanation | None:
    """What the replica knows of its batches, as soon as nothing waits and its instances are idle."""
    with mesh.channel(mesh.services["inference"][0]) as channel:
        found = ExplainServiceStub(channel).ExplainModel(
            ExplainModelRequest(model=MIXED), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.operator_token)
        )
    return None if found.explanation.queues else found.explanation


def _statistics(mesh: Mesh) -> ModelStatistics:
    with mesh.inference() as stub:
        answer = stub.ModelStatistics(
            ModelStatisticsRequest(name=MIXED), timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.operator_token)
        )
    (told,) = answer.model_stats
    return told
