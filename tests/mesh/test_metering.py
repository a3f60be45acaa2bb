"""What a client is told that its requests cost, and what the ledger has of them: the same, each request once."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import pytest

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from headrace.metering.usage import UsageKind
from headrace.metering.v1.metering_service_pb2 import CostDimension, QueryCostRequest
from headrace.metering.v1.metering_service_pb2 import CostRow as CostRowMessage
from headrace.metering.v1.metering_service_pb2_grpc import MeteringServiceStub
from tests.conftest import MeshOf
from tests.support.ledger import edge_key, ledger_of, settled
from tests.support.mesh import CALL_TIMEOUT_S, TWO_REPLICAS, Mesh, bearer, headrace
from tests.support.metered import Answer, Tenant, answer_from, answer_of, asked, priced_now, rest_body, tenant
from tests.support.requests import distinct_rows, linear, slow

BURST = 60
"""Requests of each tenant, each model and each way in."""
REPEATS = 100
CACHED = "linear-cached"


@pytest.fixture(scope="module")
def pair(mesh_of: MeshOf) -> Mesh:
    """A mesh of two replicas, both of which know the prices."""
    mesh = mesh_of(TWO_REPLICAS)
    priced_now(mesh, linear(distinct_rows(1)), mesh.demo_token)
    return mesh


@pytest.fixture
def caller(pair: Mesh) -> Tenant:
    """A tenant without any usage."""
    return tenant(pair, f"metered-{uuid4().hex[:12]}")


def query(mesh: Mesh, *dimensions: CostDimension.ValueType) -> list[CostRowMessage]:
    with mesh.channel(mesh.services["metering"][0]) as channel:
        request = QueryCostRequest(group_by=dimensions)
        answer = MeteringServiceStub(channel).QueryCost(
            request, timeout=CALL_TIMEOUT_S, metadata=bearer(mesh.operator_token)
        )
    return list(answer.rows)


def rows_of(mesh: Mesh, *names: str) -> dict[tuple[str, str], CostRowMessage]:
    """What the ledger answers about the tenants, as soon as it has everything."""
    settled(mesh)
    both = CostDimension.COST_DIMENSION_TENANT, CostDimension.COST_DIMENSION_MODEL
    return {(row.tenant, row.model): row for row in query(mesh, *both) if row.tenant in names}


def total(row: CostRowMessage) -> int:
    return row.compute_nanos + row.network_nanos + row.storage_nanos + row.api_nanos


def by_grpc(mesh: Mesh, caller: Tenant, model: str) -> list[Answer]:
    """A burst of the model, all of it in flight at once; every request is sent twice."""
    rows = distinct_rows(BURST // 2, seed=1)
    with mesh.inference() as one, mesh.inference() as two:
        requests = [linear(rows[number // 2 : number // 2 + 1], model=model) for number in range(BURST)]
        calls = [asked((one, two)[n % 2], request, caller.token) for n, request in enumerate(requests)]
        return [answer_of(caller.name, call) for call in calls]


def by_rest(mesh: Mesh, caller: Tenant, model: str) -> list[Answer]:
    """The same by REST, from eight threads."""
    rows = distinct_rows(BURST // 2, seed=1).tolist()
    with mesh.http(caller.token) as client, ThreadPoolExecutor(8) as threads:
        path = f"/v2/models/{model}/infer"
        sent = threads.map(lambda n: client.post(path, json=rest_body(rows[n // 2])), range(BURST))
        return [answer_from(caller.name, response) for response in sent]


@pytest.fixture(scope="module")
def burst(pair: Mesh) -> tuple[list[Answer], list[Answer]]:
    """What two tenants were told, who asked all at once, by gRPC and by REST: of `linear`, and of what may be cached."""
    callers = [tenant(pair, f"metered-{uuid4().hex[:12]}") for _ in range(2)]
    with ThreadPoolExecutor(8) as threads:
        jobs = {
            model: [
                threads.submit(way, pair, caller, model) for caller in callers for way in (by_grpc, by_rest)
            ]
            for model in ("linear", CACHED)
        }
        plain, cached = (
            [answer for job in jobs[model] for answer in job.result()] for model in ("linear", CACHED)
        )
    return plain, cached


def test_each_answer_is_counted_once(pair: Mesh, burst: tuple[list[Answer], list[Answer]]) -> None:
    """The ledger counts for each tenant and model what its clients counted, and has each request's id once, charged."""
    plain, cached = burst
    counted = Counter((answer.tenant, "linear") for answer in plain)
    counted += Counter((answer.tenant, CACHED) for answer in cached)
    rows = rows_of(pair, *{name for name, _ in counted})
    assert {key: row.requests for key, row in rows.items()} == counted
    assert set(counted.values()) == {2 * BURST}
    assert not any(row.wasted_requests or row.waste_nanos for row in rows.values())
    events = ledger_of(pair).events(*{answer.tenant for answer in plain})
    assert Counter(event.key for event in events) == Counter(
        edge_key(one.request_id) for one in plain + cached
    )
    assert all(event.charged for event in events)


def test_told_costs_are_the_ledgers(pair: Mesh, burst: tuple[list[Answer], list[Answer]]) -> None:
    """To the nano-unit: each answer's `headrace-cost-nanos` is what the ledger charges for it, their sum is what it totals."""
    plain, cached = burst
    rows = rows_of(pair, *{answer.tenant for answer in plain})
    told = {edge_key(answer.request_id): answer.cost for answer in plain + cached}
    assert None not in told.values()
    events = ledger_of(pair).events(*{answer.tenant for answer in plain})
    assert {event.key: event.paid for event in events} == told
    assert sum(map(total, rows.values())) == sum(event.paid for event in events)


def test_cached_answers_are_booked_as_cached(pair: Mesh, burst: tuple[list[Answer], list[Answer]]) -> None:
    """What a cache had pays for call and network alone; of `linear`, which may not be cached, nothing is booked as cached."""
    plain, cached = burst
    assert {answer.level for answer in plain} == {""}
    rows = rows_of(pair, *{answer.tenant for answer in plain})
    events = ledger_of(pair).events(*{answer.tenant for answer in plain})
    kinds = {event.key: event.kind for event in events}
    for answer in cached:
        kind = kinds[edge_key(answer.request_id)]
        # A miss either made the model work or waited for somebody's who did.
        assert (
            kind == UsageKind.CACHED if answer.cached else kind in (UsageKind.EXECUTED, UsageKind.COALESCED)
        )
    booked = Counter(
        event.tenant for event in events if event.kind in (UsageKind.CACHED, UsageKind.COALESCED)
    )
    assert {key: row.cached for key, row in rows.items()} == {
        **dict.fromkeys([(name, "linear") for name in booked], 0),
        **{(name, CACHED): count for name, count in booked.items()},
    }
    # Each row was asked for eight times at the most two of which, one on each replica, found nothing anywhere.
    assert min(booked.values()) >= 2 * BURST - 2 * (BURST // 2)


def test_command_shows_the_ledger(pair: Mesh, burst: tuple[list[Answer], list[Answer]]) -> None:
    """`headrace cost --json --by tenant,model` prints what the service answers."""
    names = {answer.tenant for answer in burst[0]}
    rows = rows_of(pair, *names)
    printed = json.loads(headrace("cost", "--json", "--by", "tenant,model", "--state-dir", pair.state_dir))
    shown = {(row["tenant"], row["model"]): row for row in printed["rows"] if row["tenant"] in names}
    assert printed["currency"] == "USD"
    assert {key: (row["requests"], row["cached"], row["total_nanos"]) for key, row in shown.items()} == {
        key: (row.requests, row.cached, total(row)) for key, row in rows.items()
    }


def test_failed_requests_cost_nothing(pair: Mesh, caller: Tenant) -> None:
    """Requests whose execution fails are booked to waste, which says what they used; their tenant pays for the answered ones."""
    with pair.inference() as stub:
        calls = [asked(stub, slow(1, poison=number % 2 == 0), caller.token) for number in range(20)]
        failed = [call.code() for call in calls[::2]]
        answers = [answer_of(caller.name, call) for call in calls[1::2]]
    assert failed == [grpc.StatusCode.INTERNAL] * 10
    row = rows_of(pair, caller.name)[caller.name, "slow"]
    assert (row.requests, row.wasted_requests) == (10, 10)
    assert total(row) == sum(answer.cost or 0 for answer in answers)
    assert row.waste_nanos > 0
    events = ledger_of(pair).events(caller.name)
    assert Counter(event.kind for event in events) == {UsageKind.FAILED: 10, UsageKind.EXECUTED: 10}
    assert not any(event.paid for event in events if event.kind == UsageKind.FAILED)


def _wrong_shape() -> ModelInferRequest:
    request = linear(distinct_rows(1))
    request.inputs[0].shape[1] = 17
    return request


@pytest.mark.parametrize(
    ("request_", "metadata", "code"),
    [
        (linear(distinct_rows(1), model="none"), (), grpc.StatusCode.NOT_FOUND),
        (_wrong_shape(), (), grpc.StatusCode.INVALID_ARGUMENT),
        (linear(distinct_rows(1)), (("idempotency-key", "k" * 256),), grpc.StatusCode.INVALID_ARGUMENT),
        (linear(distinct_rows(1)), (("idempotency-key", ""),), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["no such model", "wrong shape", "long key", "empty key"],
)
def test_refused_requests_leave_no_event(
    pair: Mesh,
    caller: Tenant,
    request_: ModelInferRequest,
    metadata: tuple[tuple[str, str], ...],
    code: grpc.StatusCode,
) -> None:
    """What was refused before it used anything is in nobody's account, not even in waste."""
    with pair.inference() as stub:
        codes = {asked(stub, request_, caller.token, *metadata).code() for _ in range(4)}
        answer_of(caller.name, asked(stub, linear(distinct_rows(1)), caller.token))
    assert codes == {code}
    rows = rows_of(pair, caller.name)
    assert {key: (row.requests, row.wasted_requests) for key, row in rows.items()} == {
        (caller.name, "linear"): (1, 0)
    }


def test_same_key_is_charged_once(pair: Mesh, caller: Tenant) -> None:
    """Row 3: of 100 concurrent requests with one idempotency key one is charged, wherever they went; 99 are waste."""
    request, key = linear(distinct_rows(1, seed=3), model=CACHED), ("idempotency-key", "order-3")
    with pair.inference() as one, pair.inference() as two:
        calls = [asked((one, two)[number % 2], request, caller.token, key) for number in range(REPEATS)]
        answers = [answer_of(caller.name, call) for call in calls]
        replicas = {str(dict(call.trailing_metadata())["headrace-replica"]) for call in calls}
    assert len(replicas) == 2
    row = rows_of(pair, caller.name)[caller.name, CACHED]
    assert (row.requests, row.wasted_requests) == (1, REPEATS - 1)
    assert total(row) in {answer.cost for answer in answers}
    (charged,) = [event for event in ledger_of(pair).events(caller.name) if event.charged]
    assert charged.paid == total(row)


def test_key_buys_no_free_compute(pair: Mesh, caller: Tenant) -> None:
    """After three executions that the key's first one paid for, every further one is charged."""
    key = ("idempotency-key", "order-4")
    with pair.inference() as stub:
        answers = [
            answer_of(caller.name, asked(stub, linear(distinct_rows(1)), caller.token, key)) for _ in range(6)
        ]
    row = rows_of(pair, caller.name)[caller.name, "linear"]
    assert (row.requests, row.wasted_requests) == (3, 3)
    assert total(row) < sum(answer.cost or 0 for answer in answers)


def test_keys_are_each_tenants_own(pair: Mesh, caller: Tenant) -> None:
    """Two tenants with the same key for the same request are both charged."""
    other = tenant(pair, f"{caller.name}-other")
    with pair.inference() as stub:
        for one in (caller, other, caller, other):
            key = ("idempotency-key", "order-5")
            answer_of(one.name, asked(stub, linear(distinct_rows(1)), one.token, key))
    rows = rows_of(pair, caller.name, other.name)
    assert {(row.requests, row.wasted_requests) for row in rows.values()} == {(1, 1)}
    assert len(rows) == 2


def test_key_of_another_request_is_refused(mesh: Mesh) -> None:
    """The replica that knows the key says INVALID_ARGUMENT to another request with it, and books nothing for that."""
    caller = tenant(mesh, f"metered-{uuid4().hex[:12]}")
    key = ("idempotency-key", "order-6")
    with mesh.inference() as stub:
        first, second = (linear(distinct_rows(1, seed=seed)) for seed in (6, 7))
        answer_of(caller.name, asked(stub, first, caller.token, key))
        refused = asked(stub, second, caller.token, key)
        again = asked(stub, first, caller.token, key)
        assert (refused.code(), again.code()) == (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK)
        assert "with another request" in refused.details()
    row = rows_of(mesh, caller.name)[caller.name, "linear"]
    assert (row.requests, row.wasted_requests) == (1, 1)


def test_ledger_is_sound(pair: Mesh, burst: tuple[list[Answer], list[Answer]]) -> None:
    """Every entry has its counter-entry, every source's segments lie end to end: row 2, in a mesh."""
    audit = settled(pair).audit()
    assert audit.sound, audit
    assert audit.events >= 8 * BURST
