"""What the flight recorder keeps of calls, and whom it tells."""

import pytest

from headrace.inference.core.flights import BatchFacts, Progress
from headrace.inference.flights import FlightRecorder, Question
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.neighbours import SetClock

REQUEST = "4f1c0a52-7d1e-4b8a-9d0f-2f5a3c1b7e60"
TRACE = "0af7651916cd43dd8448eb211c80319c"
ACME, OTHER = (Caller(name, frozenset({"infer", "observe"})) for name in ("acme", "other"))
OPERATOR = Caller("operator", frozenset({"observe", "operate"}))


def call(caller: Caller = ACME, request_id: str = REQUEST, arrived: float = 9.0) -> Call:
    return Call("/m", {"x-request-id": request_id}, caller, arrived, trace_id=TRACE)


async def test_a_refused_call_is_recorded() -> None:
    """With its code and its reason, though no model has seen it."""
    recorder = FlightRecorder(10, SetClock(10.0))
    recorder.ended(call(), 8, "RATE_LIMITED", 9.5)
    (flight,) = await recorder.find(REQUEST, "", ACME)
    assert (flight.kind.code, flight.kind.reason, flight.kind.tenant) == (8, "RATE_LIMITED", "acme")
    assert await recorder.find("", TRACE, ACME) == [flight]


async def test_progress_is_recorded_with_its_batch() -> None:
    """The times of the batch, its size and its number."""
    recorder = FlightRecorder(10, SetClock(10.0))
    one = call()
    one.progress = Progress("linear", 9.1, 9.2, "miss", 7, BatchFacts(3, 4, "full", 9.3, 9.4))
    recorder.ended(one, 0, "", 9.5)
    (flight,) = await recorder.find(REQUEST, "", ACME)
    assert (flight.admitted, flight.queued, flight.started, flight.computed) == (9.1, 9.2, 9.3, 9.4)
    assert (flight.kind.model, flight.kind.cache, flight.kind.cut, flight.cost) == (
        "linear",
        "miss",
        "full",
        7,
    )
    assert (flight.batch, flight.batch_rows) == (3, 4)


async def test_another_tenants_flight_is_not_there() -> None:
    """Not found, as if it had never been; who operates the mesh sees it."""
    recorder = FlightRecorder(10, SetClock(10.0))
    recorder.ended(call(), 0, "", 9.5)
    for identifiers in ((REQUEST, ""), ("", TRACE)):
        with pytest.raises(HeadraceError, match="FLIGHT_NOT_FOUND"):
            await recorder.find(*identifiers, OTHER)
        assert await recorder.find(*identifiers, OPERATOR)
    assert await recorder.listed(Question(5), OTHER) == []
    assert await recorder.listed(Question(5, tenant="acme"), OTHER) == []
    assert len(await recorder.listed(Question(5, tenant="acme"), OPERATOR)) == 1


async def test_who_is_not_known_is_the_operators_matter() -> None:
    """A call whose caller was not found out belongs to no tenant."""
    recorder = FlightRecorder(10, SetClock(10.0))
    recorder.ended(call(Caller("", frozenset())), 16, "UNAUTHENTICATED", 9.5)
    with pytest.raises(HeadraceError, match="FLIGHT_NOT_FOUND"):
        await recorder.find(REQUEST, "", ACME)
    assert await recorder.find(REQUEST, "", OPERATOR)


async def test_an_untold_method_leaves_no_flight() -> None:
    """Looking at flights must not push flights out."""
    recorder = FlightRecorder(10, SetClock(10.0), frozenset({"/m"}))
    recorder.ended(call(), 0, "", 9.5)
    assert await recorder.listed(Question(5), OPERATOR) == []


@pytest.mark.parametrize(
    "odd", ["", "x" * 36, "1" * 32, "0" * 36, "4f1c0a52 7d1e 4b8a 9d0f 2f5a3c1b7e6", "é" * 36]
)
async def test_what_is_no_request_id_is_recorded_without(odd: str) -> None:
    """A direct caller may send anything: the flight counts, and is found by its trace."""
    recorder = FlightRecorder(10, SetClock(10.0))
    recorder.ended(call(request_id=odd), 0, "", 9.5)
    (flight,) = await recorder.find("", TRACE, ACME)
    assert flight.request == bytes(16)


@pytest.mark.parametrize(
    ("request_id", "trace_id"), [("", ""), (REQUEST, TRACE), ("nonsense", ""), ("", "12"), ("", "0" * 32)]
)
async def test_a_question_names_one_identifier(request_id: str, trace_id: str) -> None:
    """Anything else is told what is wrong."""
    recorder = FlightRecorder(10, SetClock(10.0))
    with pytest.raises(HeadraceError, match="FIELD_INVALID"):
        await recorder.find(request_id, trace_id, ACME)
