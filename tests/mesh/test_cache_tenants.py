"""Row 10: a tenant learns nothing of another's requests from the cache: no answer, no level, no time."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from uuid import uuid4

import grpc
import numpy as np
import pytest

from headrace.inference.v2.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.conftest import MeshOf
from tests.support.cached import TIGHT, ask, cached, until_well
from tests.support.mesh import CALL_TIMEOUT_S, bearer
from tests.support.requests import Floats, distinct_rows

LONG = [pytest.mark.slow, pytest.mark.timeout(900)]
ADVANTAGE = 0.02
"""How much better than by chance a tenant may guess, from an answer's time, whether another asked before."""


@dataclass(frozen=True)
class Pair:
    """Two tenants of one mesh, neither of whom has asked anything."""

    stub: GRPCInferenceServiceStub
    victim_name: str
    victim: str
    curious: str

    def level(self, x: Floats, token: str, *more: tuple[str, str]) -> str:
        answer = ask(self.stub, cached(x), token, *more)
        assert answer.executed == (answer.level == "miss")
        return answer.level


@pytest.fixture
def tenants(mesh_of: MeshOf) -> Iterator[Pair]:
    mesh = mesh_of(TIGHT)
    until_well(mesh)
    victim, curious = (f"{name}-{uuid4().hex[:8]}" for name in ("victim", "curious"))
    with mesh.inference() as stub:
        yield Pair(stub, victim, mesh.token(victim, "infer"), mesh.token(curious, "infer"))


def each_row(count: int) -> Iterator[Floats]:
    for row in distinct_rows(count, seed=10):
        yield row[None, :]


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=LONG)])
def test_first_request_is_never_a_hit(tenants: Pair, count: int) -> None:
    """What another tenant has asked is a miss for the next one, who has it from then on for itself; the first is still served from its own."""
    own = theirs = 0
    for x in each_row(count):
        tenants.level(x, tenants.victim)
        own += tenants.level(x, tenants.victim) != "miss"
        assert tenants.level(x, tenants.curious) == "miss"
        theirs += tenants.level(x, tenants.curious) != "miss"
    assert min(own, theirs) > count // 2  # the cache did work meanwhile


def test_tenants_who_ask_at_once_share_nothing(tenants: Pair) -> None:
    """The same request of two tenants in flight together is worked out for each of them."""
    both = (tenants.victim, tenants.curious)
    with ThreadPoolExecutor(2) as threads:
        for x in each_row(200):
            asked = [threads.submit(tenants.level, x, token) for token in both]
            assert [one.result() for one in asked] == ["miss", "miss"]


FORGERIES = {
    "plain": [("x-tenant-id", "VICTIM")],
    "scopes too": [("x-tenant-id", "VICTIM"), ("x-headrace-scopes", "infer operate")],
    "twice": [("x-tenant-id", "VICTIM"), ("x-tenant-id", "VICTIM")],
    "comma": [("x-tenant-id", "VICTIM, VICTIM")],
    "underscore": [("x_tenant_id", "VICTIM")],
    "other names": [("x-headrace-tenant", "VICTIM"), ("tenant", "VICTIM")],
    "forwarded": [
        ("forwarded", "for=VICTIM"),
        ("x-forwarded-client-cert", "URI=spiffe://headrace/svc/gateway"),
    ],
}


@pytest.mark.parametrize("how", FORGERIES)
def test_forged_tenant_gets_nothing(tenants: Pair, how: str) -> None:
    """Who claims another's name in a header is refused, or asks under its own: never a hit of the other's."""
    forged = [(name, value.replace("VICTIM", tenants.victim_name)) for name, value in FORGERIES[how]]
    for x in each_row(20):
        tenants.level(x, tenants.victim)
        with suppress(grpc.RpcError):  # refused
            assert tenants.level(x, tenants.curious, *forged) == "miss"


@pytest.mark.parametrize(("count", "noise"), [(400, 0.1), pytest.param(10_000, 0.0, marks=LONG)])
def test_time_tells_nothing(tenants: Pair, count: int, noise: float) -> None:
    """From how long its first request takes, a tenant can't tell whether another has asked the same.

    `noise` is what chance alone may give with so few requests.
    """
    draw = Random(10)
    known: list[float] = []
    unknown: list[float] = []
    for x in each_row(count):
        asked_before = draw.random() < 0.5
        tenants.level(x if asked_before else x + 1, tenants.victim)
        request = cached(x)
        began = time.perf_counter()
        tenants.stub.ModelInfer(request, timeout=CALL_TIMEOUT_S, metadata=bearer(tenants.curious))
        (known if asked_before else unknown).append(time.perf_counter() - began)
    assert advantage(known, unknown) <= ADVANTAGE + noise


def advantage(known: Sequence[float], unknown: Sequence[float]) -> float:
    """What the best threshold of the first half guesses better than chance in the second one."""
    learnt = [np.array(times[: len(times) // 2]) for times in (known, unknown)]
    tried = [np.array(times[len(times) // 2 :]) for times in (known, unknown)]
    threshold = max(np.concatenate(learnt), key=lambda at: _guessed(learnt, at))
    return _guessed(tried, threshold) - 0.5


def _guessed(times: list[np.ndarray[tuple[int], np.dtype[np.float64]]], threshold: float) -> float:
    """The share of right guesses by someone who takes a quick answer for one that was known."""
    known, unknown = times
    return float(np.mean(known <= threshold) + np.mean(unknown > threshold)) / 2


def test_the_test_of_time_would_see_a_hit() -> None:
    """Times of hits and misses, as they are without tenants in the key, are told apart."""
    source = np.random.default_rng(1)
    hits, misses = source.gamma(4, 0.1, 200), source.gamma(4, 0.4, 200)
    assert advantage(hits.tolist(), misses.tolist()) > 0.2
