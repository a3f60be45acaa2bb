"""headrace.inference.v1.FlightRecorderService over the wire, of a replica that serves."""

import uuid
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from headrace.inference.flight_servicer import SCOPES
from headrace.inference.v1 import flight_pb2, flight_service_pb2
from headrace.inference.v1.flight_service_pb2_grpc import FlightRecorderServiceStub
from tests.contract.inference.conftest import Bearer, Replica
from tests.contract.inference.test_contract import failure, request


def flights(replica: Replica) -> Any:
    return FlightRecorderServiceStub(replica.channel)


async def found(replica: Replica, request_id: str, bearer: Bearer) -> flight_pb2.Flight:
    answer = await flights(replica).FindFlight(
        flight_service_pb2.FindFlightRequest(request_id=request_id), metadata=bearer
    )
    (flight,) = answer.flights
    return flight


async def test_an_answered_request_is_explained(replica: Replica) -> None:
    """Its model, its batch, and times in the order in which they happened."""
    identifier = str(uuid.uuid4())
    call = replica.stub.ModelInfer(
        request(rows=3), metadata=(*replica.bearer(), ("x-request-id", identifier))
    )
    await call
    trace_id = str(dict(await call.trailing_metadata())["headrace-trace-id"])
    flight = await found(replica, identifier, replica.bearer())
    assert (flight.request_id, flight.trace_id, flight.sampled) == (identifier, trace_id, True)
    assert (flight.model, flight.tenant, flight.code, flight.reason) == ("linear", "tenant-a", 0, "")
    assert (flight.method, flight.replica) == ("inference.GRPCInferenceService/ModelInfer", "inference-0")
    assert (flight.batch_rows, flight.batch_sequence) == (3, 1)
    assert flight.batch_cut
    times = [
        one.ToNanoseconds()
        for one in (
            flight.admitted_after, flight.queued_after, flight.started_after, flight.computed_after, flight.duration
        )
    ]  # fmt: skip
    assert times == sorted(times)
    assert times[0] > 0


async def test_a_refused_request_says_why(replica: Replica) -> None:
    """Refused by its model, its message or its scope: the code and the reason that its caller was told."""
    for message, scopes, reason in (
        (request(rows=33).SerializeToString(), (), "TENSOR_INVALID"),
        (request("nope").SerializeToString(), (), "MODEL_NOT_FOUND"),
        (b"\xff\xff", (), "MESSAGE_INVALID"),
        (request().SerializeToString(), ("observe",), "SCOPE_MISSING"),
    ):
        identifier = str(uuid.uuid4())
        call = replica.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        code, info, _ = await failure(
            call(message, metadata=(*replica.bearer(*scopes), ("x-request-id", identifier)))
        )
        flight = await found(replica, identifier, replica.bearer())
        assert (flight.code, flight.reason) == (code.value[0], info.reason) == (code.value[0], reason)
        assert not flight.HasField("started_after")
        assert not flight.HasField("admitted_after")


async def test_a_tenant_sees_its_own_flights_only(replica: Replica) -> None:
    """Another one is told NOT_FOUND and lists nothing; an operator sees all."""
    identifier = str(uuid.uuid4())
    await replica.stub.ModelInfer(request(), metadata=(*replica.bearer(), ("x-request-id", identifier)))
    other, operator = (
        (("authorization", f"Bearer {replica.keys.issue(tenant, scopes, 600).text}"),)
        for tenant, scopes in (("tenant-b", ("infer", "observe")), ("operator", ("observe", "operate")))
    )
    code, info, _ = await failure(
        flights(replica).FindFlight(
            flight_service_pb2.FindFlightRequest(request_id=identifier), metadata=other
        )
    )
    assert (code.name, info.reason) == ("NOT_FOUND", "FLIGHT_NOT_FOUND")
    listing = flight_service_pb2.ListFlightsRequest(tenant="tenant-a")
    assert not (await flights(replica).ListFlights(listing, metadata=other)).flights
    assert (await flights(replica).ListFlights(listing, metadata=operator)).flights
    assert (await found(replica, identifier, operator)).tenant == "tenant-a"


async def test_lists_are_filtered_and_bounded(replica: Replica) -> None:
    """Failed ones only; the slowest first; more than 1,000 is refused."""
    await replica.stub.ModelInfer(request(), metadata=replica.bearer())
    await failure(replica.stub.ModelInfer(request("nope"), metadata=replica.bearer()))
    stub = flights(replica)
    failed = await stub.ListFlights(
        flight_service_pb2.ListFlightsRequest(failed=True), metadata=replica.bearer()
    )
    assert [one.reason for one in failed.flights] == ["MODEL_NOT_FOUND"]
    slowest = await stub.ListFlights(
        flight_service_pb2.ListFlightsRequest(order=flight_pb2.FLIGHT_ORDER_SLOWEST),
        metadata=replica.bearer(),
    )
    lengths = [one.duration.ToNanoseconds() for one in slowest.flights]
    assert len(lengths) == 2
    assert lengths == sorted(lengths, reverse=True)
    for limit in (-1, 1001):
        code, _, _ = await failure(
            stub.ListFlights(flight_service_pb2.ListFlightsRequest(limit=limit), metadata=replica.bearer())
        )
        assert code.name == "INVALID_ARGUMENT"


@pytest.mark.parametrize("path", sorted(SCOPES))
async def test_only_an_observer_may_ask(replica: Replica, path: str) -> None:
    """No token: UNAUTHENTICATED; one that may infer or operate only: PERMISSION_DENIED."""
    call = replica.channel.unary_unary(path, None, None)
    assert (await failure(call(b"")))[0] is grpc.StatusCode.UNAUTHENTICATED
    for scope in ("infer", "operate"):
        code, info, _ = await failure(call(b"", metadata=replica.bearer(scope)))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert isinstance(info, ErrorInfo)
