"""The ring of flights against a list that forgets nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.flights import COLUMNS, NEVER, ROW, BatchFacts, FlightRing, Kind, Progress

CAPACITY = 5
REQUESTS = [bytes([n]) * 16 for n in range(1, 5)]
KINDS = st.builds(
    Kind,
    tenant=st.sampled_from(["", "acme", "other"]),
    model=st.sampled_from(["", "linear"]),
    method=st.just("/m"),
    code=st.sampled_from([0, 8]),
    reason=st.text(max_size=2),
    cache=st.just(""),
    cut=st.just("idle"),
)
ENTRIES = st.lists(st.tuples(KINDS, st.sampled_from(REQUESTS), st.integers(1, 50)), max_size=60)


def filled(entries: list[tuple[Kind, bytes, int]]) -> FlightRing:
    """The entries, one second apart, each taking as many seconds as it says."""
    ring = FlightRing(CAPACITY)
    for now, (kind, request, lasted) in enumerate(entries, start=100):
        batch = BatchFacts(now, 3, "idle", now - 0.5, now - 0.25)
        progress = Progress(kind.model, admitted=now - 0.75, batch=batch, cost=now)
        ring.add(kind, request, request[::-1], now - lasted, float(now), progress, sampled=True)
    return ring


def test_the_columns_are_the_packed_row() -> None:
    """Both name the same bytes: a row that is packed is read as columns."""
    assert COLUMNS.itemsize == ROW.size


@given(ENTRIES)
def test_the_last_requests_are_found_by_their_id(entries: list[tuple[Kind, bytes, int]]) -> None:
    """Exactly the flights of the last `CAPACITY` requests, with their own kind, oldest first."""
    ring = filled(entries)
    kept = list(enumerate(entries, start=100))[-CAPACITY:]
    assert len(ring) == len(kept)
    for request in REQUESTS:
        found = [(one.kind, one.ended, one.cost, one.batch) for one in ring.of_request(request, "")]
        assert found == [(kind, float(now), now, now) for now, (kind, other, _) in kept if other == request]
        assert ring.of_trace(request[::-1], "") == ring.of_request(request, "")


@given(ENTRIES, st.sampled_from(["acme", "other"]))
def test_a_tenant_finds_its_own_only(entries: list[tuple[Kind, bytes, int]], tenant: str) -> None:
    """Whatever kinds have been forgotten and renumbered meanwhile."""
    ring = filled(entries)
    for request in REQUESTS:
        own = [one for one in ring.of_request(request, "") if one.kind.tenant == tenant]
        assert ring.of_request(request, tenant) == own


@given(ENTRIES, st.integers(1, 7))
def test_lists_have_the_newest_and_the_slowest(entries: list[tuple[Kind, bytes, int]], limit: int) -> None:
    """Of what is wanted and nothing else, in order, as many as asked for."""
    ring = filled(entries)
    failed = [
        (now, lasted)
        for now, (kind, _, lasted) in list(enumerate(entries, start=100))[-CAPACITY:]
        if kind.code
    ]
    newest = ring.newest(limit, lambda kind: kind.code != 0)
    assert [one.ended for one in newest] == [float(now) for now, _ in reversed(failed)][:limit]
    slowest = ring.slowest(limit, lambda kind: kind.code != 0)
    lengths = sorted((lasted for _, lasted in failed), reverse=True)[:limit]
    assert [one.ended - one.arrived for one in slowest] == [pytest.approx(length) for length in lengths]


def test_memory_is_fixed() -> None:
    """Neither flights nor ever new kinds of them let it grow."""
    ring = filled([(refused(str(n)), REQUESTS[0], 1) for n in range(100 * CAPACITY)])
    assert ring.nbytes == CAPACITY * ROW.size
    assert ring.kinds <= 2 * CAPACITY
    assert [one.kind.reason for one in ring.newest(CAPACITY, lambda _: True)] == [
        str(n) for n in reversed(range(99 * CAPACITY, 100 * CAPACITY))
    ]


def test_what_did_not_happen_is_never() -> None:
    """A refused request has neither a batch nor a time of one."""
    ring = FlightRing(1)
    ring.add(refused("NO"), REQUESTS[0], bytes(16), 1.0, 2.0, Progress(""), sampled=False)
    (flight,) = ring.of_request(REQUESTS[0], "")
    assert (flight.started, flight.computed, flight.queued, flight.admitted) == (NEVER,) * 4
    assert (flight.batch, flight.batch_rows, flight.sampled) == (0, 0, 0)


def refused(reason: str) -> Kind:
    return Kind("acme", "linear", "/m", 8, reason, "", "")
