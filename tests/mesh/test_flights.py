"""`headrace trace` of requests that left no trace: unsampled, refused, given up."""

import json
from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from headrace.inference.v1.flight_pb2 import Flight
from headrace.inference.v1.flight_service_pb2 import ListFlightsRequest
from headrace.inference.v1.flight_service_pb2_grpc import FlightRecorderServiceStub
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest
from tests.conftest import MeshOf
from tests.support.cache import ROOT
from tests.support.commands import run
from tests.support.mesh import (
    CALL_TIMEOUT_S,
    Mesh,
    MeshOptions,
    bearer,
    environment,
    headrace,
    headrace_command,
)
from tests.support.requests import distinct_rows, linear, slow
from tests.support.waiting import eventually

UNSAMPLED = MeshOptions(
    replicas=2,
    config="telemetry: {sample_ratio: 0}\n",
    limits="limits: {tenants: {scarce: {rate: 0.001, burst: 1}}}\n",
)
UNSAMPLED_H2 = MeshOptions(
    config="gateway: {hot_path: h2}\ntelemetry: {sample_ratio: 0}\n", limits=UNSAMPLED.limits
)


@pytest.fixture(scope="module", params=["h1", "h2"])
def unsampled(request: pytest.FixtureRequest, mesh_of: MeshOf) -> Mesh:
    """A mesh that samples no trace, on each hot path."""
    return mesh_of(UNSAMPLED if request.param == "h1" else UNSAMPLED_H2)


def told(call: Any) -> Mapping[str, str]:
    """The metadata of an ended call, the gateway's too."""
    return {key: str(value) for key, value in (*call.initial_metadata(), *call.trailing_metadata())}


def infer(mesh: Mesh, token: str, request: ModelInferRequest) -> tuple[str, str]:
    """The request id of the call's answer, and its code."""
    with mesh.inference() as stub:
        call = stub.ModelInfer.future(request, timeout=CALL_TIMEOUT_S, metadata=bearer(token))
        call.exception()
        return told(call)["x-request-id"], call.code().name


def traced(mesh: Mesh, which: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(headrace("trace", which, "--json", "--state-dir", mesh.state_dir))
    return document


def test_an_unsampled_request_is_explained(unsampled: Mesh) -> None:
    """By its request id and by its trace id: partial, with the batch that executed it."""
    request_id, code = infer(unsampled, unsampled.demo_token, linear(distinct_rows(3)))
    assert code == "OK"
    found = traced(unsampled, request_id)
    assert found["partial"] is True
    assert [span["name"] for span in found["spans"]][1:] == ["admission", "queue", "batch"]
    (flight,) = found["flights"]
    assert (flight["request_id"], flight["code"], flight["model"], flight["batch_rows"]) == (
        request_id, "OK", "linear", 3
    )  # fmt: skip
    assert flight["trace_id"] == found["trace_id"]
    assert traced(unsampled, found["trace_id"])["flights"] == found["flights"]


def test_a_refused_request_says_by_whom_and_why(unsampled: Mesh) -> None:
    """A limit's refusal, found by the id that every answer carries."""
    token = unsampled.token("scarce", "infer")
    calls = [infer(unsampled, token, linear(distinct_rows(1))) for _ in range(3)]
    request_id = next(identifier for identifier, code in calls if code == "RESOURCE_EXHAUSTED")
    (flight,) = traced(unsampled, request_id)["flights"]
    assert (flight["code"], flight["tenant"], flight["batch_rows"]) == ("RESOURCE_EXHAUSTED", "scarce", None)
    text = headrace("trace", request_id, "--state-dir", unsampled.state_dir)
    assert text.startswith("partial: ")
    assert f"refused by {flight['replica']}: RESOURCE_EXHAUSTED ({flight['reason']})" in text


def test_a_rest_request_is_explained(unsampled: Mesh) -> None:
    """Its x-request-id is a header; a mistake in its body has a reason."""
    with unsampled.http(unsampled.demo_token) as client:
        answer = client.post("/v2/models/linear/infer", json={"inputs": []})
    assert answer.status_code == 400
    (flight,) = traced(unsampled, answer.headers["x-request-id"])["flights"]
    assert (flight["code"], flight["method"]) == (
        "INVALID_ARGUMENT", "headrace.inference.v1.RestService/ModelInfer"
    )  # fmt: skip
    assert flight["reason"]


def test_a_given_up_request_is_recorded_once(unsampled: Mesh) -> None:
    """Its caller knows no id of it: it is among its tenant's flights, as CANCELLED."""
    token = unsampled.token("leaver", "infer")
    with unsampled.inference() as stub:
        # A second of work: it must still be under way when the gateway has been asked.
        call = stub.ModelInfer.future(slow(3000), timeout=CALL_TIMEOUT_S, metadata=bearer(token))
        eventually(lambda: flights_under_way(unsampled), "the request is executed")
        call.cancel()
    eventually(lambda: len(flights(unsampled, "leaver")) or None, "the flight is recorded")
    (flight,) = flights(unsampled, "leaver")
    assert (flight.code, flight.reason, flight.model) == (1, "", "slow")
    assert flight.HasField("admitted_after")


def flights(mesh: Mesh, tenant: str) -> list[Flight]:
    """The tenant's flights of every replica."""
    found: list[Flight] = []
    for address in mesh.services["inference"]:
        with mesh.channel(address) as channel:
            answer = FlightRecorderServiceStub(channel).ListFlights(
                ListFlightsRequest(tenant=tenant),
                timeout=CALL_TIMEOUT_S,
                metadata=bearer(mesh.operator_token),
            )
            found.extend(answer.flights)
    return found


def flights_under_way(mesh: Mesh) -> bool:
    """Whether a replica has a request, by the gateway's count."""
    return any(mesh.envoy_stats(r"^cluster.inference-(hot|grpc).upstream_rq_active$").values())


def test_a_request_that_nobody_knows_is_told_so(unsampled: Mesh) -> None:
    """One that the gateway refused by itself reached no replica; the sentence says where to look."""
    with unsampled.inference() as stub, pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(linear(distinct_rows(1)), timeout=CALL_TIMEOUT_S)
    request_id = told(refused.value)["x-request-id"]
    done = run(
        headrace_command("trace", request_id, "--json", "--state-dir", unsampled.state_dir),
        env=environment({}),
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "the gateway refused it" in json.loads(done.stdout)["error"]["why"]


def test_a_request_id_finds_its_sampled_trace(mesh: Mesh) -> None:
    """Where there is a trace, it is that, whole."""
    request_id, _ = infer(mesh, mesh.demo_token, linear(distinct_rows(1)))
    found = traced(mesh, request_id)
    assert found["partial"] is False
    assert {span["service"] for span in found["spans"]} >= {"gateway", "inference"}
    assert [flight["request_id"] for flight in found["flights"]] == [request_id]
