"""What the replicas' flight recorders know of a request, asked for and put as a trace.

A flight has no spans: those made here are what its times tell, and no more.
"""

import asyncio
from collections.abc import Callable, Sequence

import grpc

from headrace.cli.mesh import channel
from headrace.inference.v1.flight_pb2 import Flight
from headrace.inference.v1.flight_service_pb2 import FindFlightRequest
from headrace.inference.v1.flight_service_pb2_grpc import FlightRecorderServiceStub
from headrace.insight.client import Span, Trace
from headrace.runtime.channels import Credentials

ASK_S = 5.0
ERROR = 2
"""OpenTelemetry's status code of a span that failed."""
CANCELLED = 1
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
UNSEEN = "0" * 32
"""In place of the trace of a request that had none."""


async def recorded(
    addresses: Sequence[str],
    credentials: Credentials,
    note: Callable[[str], None],
    *,
    request_id: str = "",
    trace_id: str = "",
) -> list[Flight]:
    """Every replica's flights of the request or the trace, oldest first; `note` hears of who did not tell."""
    question = FindFlightRequest(request_id=request_id, trace_id=trace_id)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_asked(one, credentials, question, note)) for one in addresses]
    flights = [flight for task in tasks for flight in task.result()]
    return sorted(flights, key=lambda one: one.arrival_time.ToNanoseconds())


async def _asked(
    address: str, credentials: Credentials, question: FindFlightRequest, note: Callable[[str], None]
) -> list[Flight]:
    async with channel(address) as opened:
        try:
            stub = FlightRecorderServiceStub(opened)
            answer = await stub.FindFlight(question, timeout=ASK_S, metadata=credentials)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                note(f"the replica at {address} did not tell what it recorded: {error.code().name}")
            return []
        return list(answer.flights)


def trace_of(flights: Sequence[Flight]) -> Trace:
    """The flights as spans: the call, and inside it what is known of admission, queue and batch."""
    return Trace(tuple(span for number, one in enumerate(flights, 1) for span in _spans(number, one)), ())


def _spans(number: int, flight: Flight) -> list[Span]:
    def span(place: int, name: str, start_ns: int, end_ns: int, **more: object) -> Span:
        return Span(
            trace_id=flight.trace_id or UNSEEN,
            span_id=f"{number:08x}{place:08x}",
            parent_id=f"{number:08x}{1:08x}" if place > 1 else "",
            service="inference",
            name=name,
            start_ns=start_ns,
            end_ns=max(start_ns, end_ns),
            **more,  # type: ignore[arg-type]  # status and attributes, below
        )

    start = flight.arrival_time.ToNanoseconds()
    end = start + flight.duration.ToNanoseconds()
    attributes = {key: str(value) for key, value in document(flight).items() if value not in (None, "")}
    failed = {"status": ERROR, "status_message": flight.reason} if flight.code else {}
    spans = [span(1, flight.method, start, end, attributes=attributes, **failed)]
    if flight.HasField("admitted_after"):
        spans.append(span(2, "admission", start, start + flight.admitted_after.ToNanoseconds()))
    if flight.HasField("started_after"):
        started = start + flight.started_after.ToNanoseconds()
        spans.append(span(3, "queue", start + flight.queued_after.ToNanoseconds(), started))
        spans.append(span(4, "batch", started, start + flight.computed_after.ToNanoseconds()))
    return spans


def document(flight: Flight) -> dict[str, object]:
    """A flight for a program; null is what did not happen or is not known."""
    return {
        "request_id": flight.request_id or None,
        "trace_id": flight.trace_id or None,
        "sampled": flight.sampled,
        "replica": flight.replica,
        "method": flight.method,
        "tenant": flight.tenant or None,
        "model": flight.model or None,
        "code": CODES.get(flight.code, "UNKNOWN"),
        "reason": flight.reason or None,
        "cache": flight.cache or None,
        "arrived_ns": flight.arrival_time.ToNanoseconds(),
        "duration_ns": flight.duration.ToNanoseconds(),
        "batch_rows": flight.batch_rows or None,
        "batch_sequence": flight.batch_sequence or None,
        "batch_cut": flight.batch_cut or None,
        "cost_nanos": flight.cost_nanos if flight.HasField("cost_nanos") else None,
    }


def ending(flight: Flight) -> str:
    """How the request ended, and on whose word."""
    who = f"{flight.tenant or 'somebody unknown'}'s request {flight.request_id or '(no id)'}"
    model = f" for {flight.model}" if flight.model else ""
    if flight.code == 0:
        return f"{who}{model} was answered by {flight.replica}, {_origin(flight)}"
    if flight.code == CANCELLED:
        return f"{who}{model} was given up by its caller while {flight.replica} {_stage(flight)}"
    code = CODES.get(flight.code, "UNKNOWN")
    return (
        f"{who}{model} was refused by {flight.replica}: {code} ({flight.reason}), while it {_stage(flight)}"
    )


def _origin(flight: Flight) -> str:
    if flight.batch_sequence:
        return f"from its batch {flight.batch_sequence} of {flight.batch_rows} row(s)"
    return f"from the cache ({flight.cache})" if flight.cache not in ("", "miss") else "without a batch"


def _stage(flight: Flight) -> str:
    if flight.batch_sequence:
        return "executed or had executed it"
    return "had it waiting" if flight.HasField("admitted_after") else "looked at it, before it was admitted"
