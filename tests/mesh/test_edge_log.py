"""What the edge saw beside what the ledger has: each request once in both, whatever became of it."""

import json
import time
from collections import Counter
from uuid import uuid4

import grpc
import pytest

from headrace.metering.v1.edge_pb2 import EdgeComparison, EdgeOutcome
from headrace.metering.v1.metering_service_pb2 import (
    CostDimension,
    GetEdgeSummaryRequest,
    GetEdgeSummaryResponse,
)
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from tests.conftest import MeshOf
from tests.support.ledger import ledger_of, settled
from tests.support.mesh import CALL_TIMEOUT_S, H2, RAISED, Mesh, MeshOptions, bearer, headrace, raw
from tests.support.metered import Tenant, answer_from, answer_of, asked, priced_now, rest_body, tenant
from tests.support.requests import distinct_rows, linear, slow
from tests.support.waiting import eventually

EACH = 20
SETTLED_S = 30.0
ROWS = distinct_rows(EACH, seed=44)
FRUGAL = MeshOptions(
    replicas=2,
    config=H2.config.replace("h2", "h1"),
    limits=RAISED.replace("}}", "}, tenants: {thrifty: {rate: 0.001, burst: 3}}}"),
)


@pytest.fixture(scope="module")
def pair(mesh_of: MeshOf) -> Mesh:
    """A mesh of two replicas, both of which know the prices, with a tenant of a small limit."""
    mesh = mesh_of(FRUGAL)
    priced_now(mesh, linear(ROWS[:1]), mesh.demo_token)
    return mesh


@pytest.fixture
def caller(pair: Mesh) -> Tenant:
    """A tenant whom nobody has seen yet."""
    return tenant(pair, f"seen-{uuid4().hex[:12]}")


def summary(mesh: Mesh) -> GetEdgeSummaryResponse:
    with mesh.channel(mesh.services["metering"][0]) as channel:
        both = [CostDimension.COST_DIMENSION_TENANT, CostDimension.COST_DIMENSION_MODEL]
        return MeteringServiceStub(channel).GetEdgeSummary(
            GetEdgeSummaryRequest(group_by=both),
            timeout=CALL_TIMEOUT_S,
            metadata=bearer(mesh.operator_token),
        )


def counts_of(answer: GetEdgeSummaryResponse, name: str) -> dict[str, int]:
    return {
        EdgeOutcome.Name(one.outcome).removeprefix("EDGE_OUTCOME_"): one.requests
        for one in answer.counts
        if one.tenant == name
    }


def seen(mesh: Mesh, name: str, requests: int) -> GetEdgeSummaryResponse:
    """The summary, as soon as the edge has told of so many of the tenant's requests and all their events have met them."""

    def complete() -> GetEdgeSummaryResponse | None:
        answer = summary(mesh)
        rows = [row for row in answer.comparisons if row.tenant == name]
        met = sum(row.matched for row in rows) >= sum(row.ledger_events for row in rows)
        return answer if met and sum(counts_of(answer, name).values()) >= requests else None

    settled(mesh)
    return eventually(complete, "the edge has told all", SETTLED_S)


def rows_of(answer: GetEdgeSummaryResponse, name: str) -> dict[str, EdgeComparison]:
    return {row.model: row for row in answer.comparisons if row.tenant == name}


def test_each_answer_is_matched_by_its_request(pair: Mesh, caller: Tenant) -> None:
    """gRPC and REST, computed and cached, with and without an idempotency key: the edge counts what the ledger has, to the byte."""
    path = "/v2/models/linear-cached/infer"
    with pair.inference() as stub, pair.http(caller.token) as client:
        for number in range(EACH):
            row = ROWS[number : number + 1]
            answer_of(caller.name, asked(stub, linear(row), caller.token))
            for _ in range(2):  # the second one from a cache
                answer_of(caller.name, asked(stub, linear(row, model="linear-cached"), caller.token))
            key = ("idempotency-key", f"order-{number // 2}")
            answer_of(caller.name, asked(stub, linear(ROWS[:1]), caller.token, key))
            answer_from(caller.name, client.post(path, json=rest_body(row[0].tolist())))
    answer = seen(pair, caller.name, 5 * EACH)
    assert counts_of(answer, caller.name) == {"ANSWERED": 5 * EACH}
    rows = rows_of(answer, caller.name)
    found = {model: (row.matched, row.ledger_events, row.bytes_differ) for model, row in rows.items()}
    assert found == {
        "linear": (2 * EACH, 2 * EACH, 0),
        "linear-cached": (3 * EACH, 3 * EACH, 0),
    }
    assert not any(row.edge_only or row.ledger_only for row in rows.values())
    # gRPC frames a message by 5 bytes in each direction, and nothing else is between the two.
    assert rows["linear"].edge_bytes - rows["linear"].ledger_bytes == 2 * EACH * 2 * 5


def test_refusals_are_told_apart(pair: Mesh) -> None:
    """Who has no token, what has no path, what a replica's guard or its contract refuses: each by itself, none in the ledger."""
    caller = tenant(pair, "thrifty")
    before = counts_of(summary(pair), "")
    with pair.inference() as stub, pair.channel() as channel, pair.http(caller.token) as client:
        codes = Counter(asked(stub, linear(ROWS[:1]), caller.token).code() for _ in range(10))
        assert asked(stub, linear(ROWS[:1]), "").code() is grpc.StatusCode.UNAUTHENTICATED
        assert (
            raw(channel, "/no.Such/Method").future(b"", metadata=bearer(caller.token)).code()
            is grpc.StatusCode.UNIMPLEMENTED
        )
        assert client.get("/v2/nothing").status_code == 404
        assert client.post("/v2/models/linear/infer", content=b"x" * (1 << 20)).status_code == 413
    assert codes == {grpc.StatusCode.OK: 3, grpc.StatusCode.RESOURCE_EXHAUSTED: 7}
    answer = seen(pair, caller.name, 13)
    assert counts_of(answer, caller.name) == {"ANSWERED": 3, "REFUSED": 7, "NO_ROUTE": 2, "TOO_LARGE": 1}
    assert counts_of(answer, "")["TOKEN"] - before.get("TOKEN", 0) == 1
    assert {model: row.matched for model, row in rows_of(answer, caller.name).items()} == {"linear": 3}


def test_failed_and_cancelled_requests_are_matched_too(pair: Mesh, caller: Tenant) -> None:
    """What failed and what its client left while it was computed has its event; neither is missed, nor is what left without one."""
    with pair.inference() as stub:
        for number in range(6):
            asked(stub, slow(1, poison=number % 2 == 0), caller.token).exception()
        left = asked(stub, slow(2500, 1.0), caller.token)
        time.sleep(0.15)  # it is being computed by now
        left.cancel()
        answer_of(caller.name, asked(stub, slow(1), caller.token))
    eventually(
        lambda: len(ledger_of(pair).events(caller.name)) >= 8,
        "the one that was left is booked",
        SETTLED_S,
    )
    answer = seen(pair, caller.name, 8)
    assert counts_of(answer, caller.name) == {"ANSWERED": 4, "FAILED": 3, "CANCELLED": 1}
    row = rows_of(answer, caller.name)["slow"]
    assert (row.matched, row.ledger_events, row.edge_only, row.ledger_only) == (8, 8, 0, 0)


def test_the_command_shows_it(pair: Mesh, caller: Tenant) -> None:
    """`headrace cost --edge --json` prints what the service answers."""
    with pair.inference() as stub:
        answer_of(caller.name, asked(stub, linear(ROWS[:1]), caller.token))
    seen(pair, caller.name, 1)
    printed = json.loads(headrace("cost", "--edge", "--json", "--state-dir", pair.state_dir))
    (count,) = [one for one in printed["requests"] if one["tenant"] == caller.name]
    (row,) = [one for one in printed["comparisons"] if one["tenant"] == caller.name]
    assert (count["outcome"], count["requests"]) == ("answered", 1)
    assert (row["model"], row["matched"], row["ledger_events"]) == ("linear", 1, 1)
