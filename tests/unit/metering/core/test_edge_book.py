"""The edge's requests are counted exactly once, each in its minute, tenant and outcome."""

from headrace.metering.core.edge import Ended, Outcome
from headrace.metering.core.edge_book import EdgeBook
from headrace.metering.core.joining import Compared, JoinWindow
from tests.fakes.edge import NOON_S, entry
from tests.fakes.metering import event, recording

LIMITED = Ended("local_rate_limited", "8", 200, tenant=True)
ANSWERED, TENANT_LIMIT = int(Outcome.ANSWERED), int(Outcome.TENANT_LIMIT)


def book(most_rows: int = 100) -> EdgeBook:
    return EdgeBook(JoinWindow(60.0, 1000), most_rows)


def test_requests_are_counted_with_their_bytes() -> None:
    """Headers and bodies, by tenant and outcome."""
    edge = book()
    for _ in range(3):
        edge.request(entry())
    edge.request(entry(ended=LIMITED, received=0, sent=7))
    edge.request(entry(minute=NOON_S + 60))
    assert edge.take(0.0)[0] == {
        (NOON_S, "acme", ANSWERED): [3, 3 * 505, 3 * 235],
        (NOON_S, "acme", TENANT_LIMIT): [1, 400, 137],
        (NOON_S + 60, "acme", ANSWERED): [1, 505, 235],
    }
    assert edge.take(0.0) == ({}, {})


def test_events_meet_their_requests() -> None:
    """By the edge's identifier, or by the client's key where the event was booked under that."""
    edge = book()
    edge.request(entry("r1"))
    edge.request(entry("r2", client_key="order-1"))
    events = [event(b"er1"), event(b"corder-1", digest=b"d"), event(b"er9"), event()]
    edge.recorded(recording(events).batch)
    _, found = edge.take(0.0)
    # The last one has no key at all: nobody can say which request it was.
    assert found == {(NOON_S, "acme", "linear"): Compared(2, 0, 420, 400, 0, 1)}
    assert edge.waiting == 1


def test_only_what_may_be_booked_is_looked_for() -> None:
    """Neither what was refused nor what is no inference nor what nobody's token came with waits for an event."""
    edge = book()
    edge.request(entry(ended=LIMITED))
    edge.request(entry(route="rest"))
    edge.request(entry(tenant="", route="infer"))
    assert edge.waiting == 0
    edge.request(entry(route="rest-infer"))
    edge.request(entry("r2", route="infer-web", ended=Ended("http2.remote_reset", "", 0, tenant=True)))
    assert edge.waiting == 2


def test_rows_are_bounded() -> None:
    """What there is no room for is dropped, and counted as dropped; so is what can't be taken back."""
    edge = book(most_rows=1)
    edge.request(entry())
    edge.request(entry(tenant="other"))
    assert edge.dropped_since() == 1
    counts, found = edge.take(0.0)
    edge.request(entry(tenant="other"))
    edge.give_back(counts, found)
    assert edge.dropped_since() == 1
    assert list(edge.take(0.0)[0]) == [(NOON_S, "other", ANSWERED)]


def test_what_could_not_be_kept_is_counted_again() -> None:
    """Once."""
    edge = book()
    edge.request(entry())
    counts, found = edge.take(0.0)
    edge.request(entry())
    edge.give_back(counts, found)
    assert edge.take(0.0)[0] == {(NOON_S, "acme", ANSWERED): [2, 1010, 470]}
