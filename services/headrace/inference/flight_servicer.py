"""headrace.inference.v1.FlightRecorderService: decode, call, encode."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.inference import errors
from headrace.inference.core.flights import NEVER, NO_COST, NO_ID, Flight
from headrace.inference.flights import FlightRecorder, Question
from headrace.inference.v1 import flight_pb2, flight_service_pb2
from headrace.inference.v1.flight_service_pb2 import (
    FindFlightRequest,
    FindFlightResponse,
    ListFlightsRequest,
    ListFlightsResponse,
)
from headrace.runtime.access import OBSERVE
from headrace.runtime.rpc import Call

SERVICE = flight_service_pb2.DESCRIPTOR.services_by_name["FlightRecorderService"]
SCOPES = {f"/{SERVICE.full_name}/{method.name}": OBSERVE for method in SERVICE.methods}

DEFAULT_LIMIT = 20
MAX_LIMIT = 1000


class FlightRecorderServicer:
    """Tells of the last requests."""

    def __init__(self, recorder: FlightRecorder, replica: str) -> None:
        self._recorder = recorder
        self._replica = replica

    async def FindFlight(self, request: FindFlightRequest, call: Call) -> FindFlightResponse:
        flights = await self._recorder.find(request.request_id, request.trace_id.lower(), call.caller)
        return FindFlightResponse(flights=map(self._message, flights))

    async def ListFlights(self, request: ListFlightsRequest, call: Call) -> ListFlightsResponse:
        if not 0 <= request.limit <= MAX_LIMIT:
            raise errors.field_invalid("limit", f"must be between 0 and {MAX_LIMIT}")
        question = Question(
            limit=request.limit or DEFAULT_LIMIT,
            slowest=request.order == flight_pb2.FLIGHT_ORDER_SLOWEST,
            failed=request.failed,
            model=request.model,
            tenant=request.tenant,
        )
        flights = await self._recorder.listed(question, call.caller)
        return ListFlightsResponse(flights=map(self._message, flights))

    def _message(self, flight: Flight) -> flight_pb2.Flight:
        kind, arrived_ns = flight.kind, self._recorder.wall_ns(flight.arrived)
        return flight_pb2.Flight(
            request_id=_uuid(flight.request),
            trace_id="" if flight.trace == NO_ID else flight.trace.hex(),
            sampled=bool(flight.sampled),
            replica=self._replica,
            method=kind.method.removeprefix("/"),
            tenant=kind.tenant,
            model=kind.model,
            code=kind.code,
            reason=kind.reason,
            cache=kind.cache,
            arrival_time=Timestamp(seconds=arrived_ns // 10**9, nanos=arrived_ns % 10**9),
            duration=_after(flight, flight.ended),
            admitted_after=_after(flight, flight.admitted),
            queued_after=_after(flight, flight.queued),
            started_after=_after(flight, flight.started),
            computed_after=_after(flight, flight.computed),
            batch_rows=flight.batch_rows,
            batch_sequence=flight.batch,
            batch_cut=kind.cut,
            cost_nanos=None if flight.cost == NO_COST else flight.cost,
        )


def _after(flight: Flight, then: float) -> Duration | None:
    if then == NEVER:
        return None
    ns = max(0, round((then - flight.arrived) * 1e9))
    return Duration(seconds=ns // 10**9, nanos=ns % 10**9)


def _uuid(identifier: bytes) -> str:
    digits = identifier.hex()
    if identifier == NO_ID:
        return ""
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
