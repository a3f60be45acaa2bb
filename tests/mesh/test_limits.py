"""What each tenant may do, through the gateway and over two replicas: limits, breakers, revoked tokens."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc
import jwt
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, QuotaFailure, RetryInfo
from grpc_status import rpc_status

from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelStatisticsRequest
from tests.conftest import MeshOf
from tests.support.mesh import CALL_TIMEOUT_S, Mesh, MeshOptions, bearer, headrace
from tests.support.metered import rest_body
from tests.support.models import SLOW
from tests.support.requests import distinct_rows, linear, slow
from tests.support.waiting import eventually

OPEN_S = 3.0
FAILURES = 5
LEASED_RATE, LEASED_BURST = 200, 200
LIMITED = MeshOptions(
    replicas=2,
    limits=f"""\
limits:
  breaker: {{failures: {FAILURES}, open_s: {OPEN_S}}}
  tenants:
    exact: {{rate: 0.001, burst: 20, concurrency: 1000}}
    leased: {{rate: {LEASED_RATE}, burst: {LEASED_BURST}, concurrency: 1000}}
    few: {{rate: 100000, burst: 100000, concurrency: 3}}
    free: {{rate: 100000, burst: 100000, concurrency: 1000}}
""",
    # A guard that is slow because two cores run a whole mesh is asked all the same: being exact is what is tested.
    env={"HEADRACE_INFERENCE_LIMITS_SYNC_TIMEOUT_MS": "5000"},
)
REVOKED_WITHIN_S = 5.0
OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
LINEAR = linear(distinct_rows(1))


@pytest.fixture
def limited(mesh_of: MeshOf) -> Mesh:
    """Two replicas with the default limits for whoever has none of its own."""
    return mesh_of(LIMITED)


def statuses(
    mesh: Mesh, requests: Sequence[ModelInferRequest], token: str, connections: int = 4
) -> tuple[Counter[grpc.StatusCode], list[grpc.RpcError]]:
    """All requests at once, over several connections: how they ended, and the errors."""
    endings: Counter[grpc.StatusCode] = Counter()
    errors: list[grpc.RpcError] = []

    def ask(place: int) -> None:
        with mesh.inference() as stub:
            calls = [
                stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=bearer(token))
                for request in requests[place::connections]
            ]
            for call in calls:
                endings[call.code()] += 1
                if isinstance(error := call.exception(), grpc.RpcError):
                    errors.append(error)

    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(ask, range(connections)))
    return endings, errors


def details(error: grpc.RpcError) -> tuple[ErrorInfo, RetryInfo, QuotaFailure]:
    """What the refusal says, for programs."""
    status = rpc_status.from_call(cast("grpc.Call", error))
    assert status is not None
    found = ErrorInfo(), RetryInfo(), QuotaFailure()
    for detail in status.details:
        for message in found:
            detail.Unpack(message)
    return found


def executions(mesh: Mesh, model: str) -> int:
    """Runs of the model over both replicas."""
    total = 0
    for address in mesh.services["inference"]:
        with mesh.inference(address) as stub:
            answer = stub.ModelStatistics(
                ModelStatisticsRequest(name=model),
                timeout=CALL_TIMEOUT_S,
                metadata=bearer(mesh.operator_token),
            )
            total += sum(one.execution_count for one in answer.model_stats)
    return total


def test_a_hundred_racing_for_twenty_tokens_get_twenty(limited: Mesh) -> None:
    """Exactly: a limit too small to be leased out is asked for request by request, whichever replica has it."""
    endings, _ = statuses(limited, [LINEAR] * 100, limited.token("exact", "infer"), connections=10)
    assert endings == {OK: 20, EXHAUSTED: 80}


def test_leases_stay_within_their_bound(limited: Mesh) -> None:
    """Whatever two replicas hold ahead of time came out of the one bucket: burst + rate x time, and no more."""
    token = limited.token("leased", "infer")
    begun = time.monotonic()
    admitted = 0
    while time.monotonic() - begun < 2.0:
        endings, _ = statuses(limited, [LINEAR] * 200, token)
        admitted += endings[OK]
        assert set(endings) <= {OK, EXHAUSTED}
    passed_s = time.monotonic() - begun
    assert admitted <= LEASED_BURST + LEASED_RATE * passed_s + 1
    # Nor far below it: leases that lie unused on one replica come back.
    assert admitted >= 0.5 * LEASED_RATE * passed_s


def test_the_default_limits_refuse(limited: Mesh) -> None:
    """A tenant with no limits of its own has the specification's: 1000/s in bursts of 1000, 100 in flight.

    The refusal names the limit, the tenant and when to come again, by gRPC and by REST.
    """
    token = limited.token("plain", "infer")
    long = [slow(500, float(row)) for row in range(110)]
    endings, errors = statuses(limited, long, token)
    assert endings[EXHAUSTED] >= 1
    assert endings[OK] >= 1
    info, retry, quota = details(errors[0])
    assert (info.reason, info.domain) == ("CONCURRENCY_LIMITED", "guard.headrace")
    assert info.metadata["tenant"] == "plain"
    assert (info.metadata["limit"], info.metadata["concurrency"]) == ("concurrency", "100")
    assert retry.retry_delay.ToMilliseconds() > 0
    assert quota.violations[0].subject == "tenant:plain"
    assert "100 requests in flight" in quota.violations[0].description


def test_a_refusal_by_rest_is_429_with_retry_after(limited: Mesh) -> None:
    """Whole seconds, at least one; the error names the limit."""
    body = rest_body(distinct_rows(1)[0].tolist())
    token = limited.token("exact", "infer")
    statuses(limited, [LINEAR] * 25, token)
    with limited.http(token) as client:
        response = client.post("/v2/models/linear/infer", json=body)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert "'exact'" in response.json()["error"]
    assert "requests per second" in response.json()["error"]


def test_one_tenants_limit_is_nobody_elses(limited: Mesh) -> None:
    """While one is refused, another is served."""
    few, free = limited.token("few", "infer"), limited.token("free", "infer")
    with ThreadPoolExecutor(2) as threads:
        refused = threads.submit(statuses, limited, [slow(200)] * 30, few)
        served = threads.submit(statuses, limited, [LINEAR] * 100, free)
        assert refused.result()[0][EXHAUSTED] > 0
        assert served.result()[0] == {OK: 100}


def breaker(mesh: Mesh) -> dict[str, Any]:
    """What `headrace breakers --json` tells of `slow`; empty while it is closed."""
    document = json.loads(headrace("breakers", "--json", "--state-dir", mesh.state_dir))
    return next((one for one in document["breakers"] if one["model"] == SLOW), {})


def test_a_breaker_opens_probes_once_and_closes(limited: Mesh) -> None:
    """Five failures of the model over two replicas open it; of all that come then, one passes; its success closes.

    What a caller did wrong, or gave up, never counted.
    """
    token = limited.token("free", "infer")
    wrong = ModelInferRequest(model_name=SLOW)
    endings, _ = statuses(limited, [wrong] * 20, token)
    assert endings == {grpc.StatusCode.INVALID_ARGUMENT: 20}
    with limited.inference() as stub:
        given_up = [
            stub.ModelInfer.future(slow(300), timeout=CALL_TIMEOUT_S, metadata=bearer(token))
            for _ in range(20)
        ]
        for call in given_up:
            call.cancel()
    assert breaker(limited) == {}

    for _ in range(FAILURES):
        endings, _ = statuses(limited, [slow(1, poison=True)], token)
        assert endings == {grpc.StatusCode.INTERNAL: 1}
    refused = eventually(lambda: _refused(limited, token), "the breaker opens")
    info, retry, _ = details(refused)
    assert (info.reason, info.metadata["model"]) == ("BREAKER_OPEN", SLOW)
    assert 0 < retry.retry_delay.ToMilliseconds() <= OPEN_S * 1000

    before = executions(limited, SLOW)
    passed = eventually(lambda: _probed(limited, token), "the breaker lets a probe through", 3 * OPEN_S)
    assert passed == 1
    assert executions(limited, SLOW) == before + 1
    assert eventually(lambda: breaker(limited) == {}, "the breaker closes")
    endings, _ = statuses(limited, [slow(1)] * 20, token)
    assert endings == {OK: 20}


def _refused(mesh: Mesh, token: str) -> grpc.RpcError | None:
    """The refusal of both replicas, when both refuse."""
    endings, errors = statuses(mesh, [slow(1)] * 8, token)
    return errors[0] if endings == {grpc.StatusCode.UNAVAILABLE: 8} else None


def _probed(mesh: Mesh, token: str) -> int | None:
    """How many of twenty at once passed, if any: long ones, so that all of them meet the probe in flight."""
    endings, errors = statuses(mesh, [slow(1500)] * 20, token)
    assert all(details(error)[0].reason == "BREAKER_OPEN" for error in errors)
    return endings[OK] or None


def test_a_revoked_token_is_refused_everywhere(limited: Mesh) -> None:
    """Within five seconds: at the gateway, at a replica's own port, at insight's; another token goes on."""
    token = limited.token("leaving", "infer", "observe")
    identifier = jwt.decode(token, options={"verify_signature": False})["jti"]
    doors = [limited.gateway, *limited.services["inference"]]
    assert [_ending(limited, door, token) for door in doors] == [OK] * len(doors)
    headrace("keys", "revoke", identifier, "--state-dir", limited.state_dir)
    refused = [grpc.StatusCode.UNAUTHENTICATED] * len(doors)
    eventually(
        lambda: [_ending(limited, door, token) for door in doors] == refused,
        "refused at every door",
        REVOKED_WITHIN_S,
    )
    assert _ending(limited, limited.gateway, limited.token("leaving", "infer")) is OK


def _ending(mesh: Mesh, door: str, token: str) -> grpc.StatusCode:
    with mesh.inference(door) as stub:
        call = stub.ModelInfer.future(LINEAR, timeout=CALL_TIMEOUT_S, metadata=bearer(token))
        code: grpc.StatusCode = call.code()
        return code
