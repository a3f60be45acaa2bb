"""What the edge saw and what the ledger was told meet, in whatever order they come."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.joining import Compared, Entry, Event, JoinWindow, Key, agree
from tests.fakes.edge import GONE, NOON_S, booked, entry

WINDOW_S = 60.0
MOST = 10_000
PLACE = NOON_S, "acme", "linear"
ALONE = NOON_S, "acme", ""
CLIENTS: Key = ("acme", b"k" * 16)


class Shown(NamedTuple):
    """What came of a request or an event, over all rows."""

    matched: int
    edge_only: int
    ledger_only: int


def opened(most: int = MOST) -> JoinWindow:
    """A window whose time has begun."""
    window = JoinWindow(WINDOW_S, most)
    window.expire(0.0)
    return window


def decided(window: JoinWindow) -> Shown:
    """All that was found when everything has waited long enough."""
    window.expire(3 * WINDOW_S)
    assert window.waiting == 0
    found = window.take().values()
    return Shown(
        sum(one.matched for one in found),
        sum(one.edge_only for one in found),
        sum(one.ledger_only for one in found),
    )


def give(window: JoinWindow, key: Key, one: Entry | Event) -> None:
    if isinstance(one, Entry):
        window.entry(key, one)
    else:
        window.event(key, one)


ITEMS = st.sampled_from([entry(), entry(ended=GONE), booked()])
KEYS = st.sampled_from([("acme", b"a"), ("acme", b"b"), ("other", b"a")])


@given(st.lists(st.tuples(KEYS, ITEMS), max_size=40))
def test_the_order_does_not_matter(items: list[tuple[Key, Entry | Event]]) -> None:
    """Of each key as many pairs are found as there are of both sides; an entry is missed only for want of an event."""
    window = opened()
    wanted = [0, 0, 0]
    for key, one in items:
        give(window, key, one)
    for key in {key for key, _ in items}:
        of_key = [one for each, one in items if each == key]
        events = sum(isinstance(one, Event) for one in of_key)
        answered = sum(isinstance(one, Entry) and one.ended is None for one in of_key)
        wanted[0] += min(len(of_key) - events, events)
        wanted[1] += max(0, answered - events)
        wanted[2] += max(0, events - (len(of_key) - events))
    assert decided(window) == tuple(wanted)


@given(
    st.lists(st.tuples(st.sampled_from([b"1", b"2"]), st.sampled_from([entry(), booked()])), max_size=20),
    st.lists(st.floats(0, WINDOW_S - 1), max_size=5),
)
def test_the_edges_own_keys_meet_too(items: list[tuple[bytes, Entry | Event]], times: list[float]) -> None:
    """Duplicates on either side included, and whenever the window is looked at in between."""
    window = opened()
    for now in sorted(times):
        window.expire(now)
    for key, one in items:
        give(window, key, one)
    pairs = [
        (sum(k == key and isinstance(one, Entry) for k, one in items), sum(k == key for k, _ in items))
        for key in (b"1", b"2")
    ]
    matched = sum(min(entries, both - entries) for entries, both in pairs)
    entries = sum(entries for entries, _ in pairs)
    assert decided(window) == (matched, entries - matched, len(items) - entries - matched)


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([entry(), entry(ended=GONE), booked()]))))
def test_the_window_is_bounded_and_loses_nothing(items: list[tuple[int, Entry | Event]]) -> None:
    """However many wait, they are never more than the bound; each event ends matched or alone."""
    window = opened(8)
    for number, one in items:
        give(window, number.to_bytes(4, "big"), one)
        assert window.waiting <= 8
    shown = decided(window)
    assert shown.matched + shown.ledger_only == sum(isinstance(one, Event) for _, one in items)


@given(st.integers(0, 200), st.integers(0, 59), st.booleans())
def test_what_comes_within_the_window_meets(begun: int, later: int, entry_first: bool) -> None:
    """Whenever the first side came, and however often the window was looked at: nothing is decided before its time."""
    window = opened()
    sides: list[Entry | Event] = [entry(), booked()] if entry_first else [booked(), entry()]
    for now in range(begun + 1):
        window.expire(float(now))
    give(window, b"1", sides[0])
    for now in range(begun, begun + later + 1):
        window.expire(float(now))
    give(window, b"1", sides[1])
    assert window.take() == {PLACE: Compared(1, 0, 210, 200)}
    assert window.waiting == 0


def test_what_has_waited_is_alone() -> None:
    """An entry without an event by its tenant, an event by its tenant and model; a request that needs no event by nothing."""
    window = opened()
    window.entry(b"1", entry())
    window.entry(b"2", entry(ended=GONE))
    window.event(b"3", booked())
    window.alone(booked(model="direct"))
    window.expire(2 * WINDOW_S)
    assert window.take() == {
        ALONE: Compared(edge_only=1),
        PLACE: Compared(ledger_only=1),
        (NOON_S, "acme", "direct"): Compared(ledger_only=1),
    }


def test_a_clients_key_is_its_tenants_own() -> None:
    """Two tenants' equal keys do not meet."""
    window = opened()
    window.entry(("acme", b"k"), entry())
    window.event(("other", b"k"), booked(tenant="other"))
    assert decided(window) == (0, 1, 1)


def test_a_client_that_tries_again_misses_nothing() -> None:
    """Its first try got no answer and its event is given to that; the second try, answered from it, is not missed."""
    window = opened()
    window.entry(CLIENTS, entry(ended=GONE))
    window.event(CLIENTS, booked())
    window.entry(CLIENTS, entry())
    assert decided(window) == (1, 0, 0)


def test_a_key_that_is_used_for_ever_does_not_wait_for_ever() -> None:
    """What is alone under it is decided in its time, though others of it come and meet."""
    window = opened()
    window.entry(CLIENTS, entry())
    window.entry(CLIENTS, entry())
    for turn in range(1, 5):
        window.expire(turn * WINDOW_S)
        window.entry(CLIENTS, entry())
        window.event(CLIENTS, booked())
    found = window.take()
    assert found[ALONE].edge_only == 2
    assert found[PLACE].matched == 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (entry(), booked(), True),
        (entry(received=106), booked(), False),
        (entry(sent=104), booked(), False),
        (entry(sent=0), booked(sent=0), True),
        (entry(sent=0), booked(), False),
        (entry(route="rest-infer", received=1124), booked(), True),
        (entry(route="rest-infer", received=1125), booked(), False),
        (entry(route="infer-web", sent=0), booked(sent=1025), False),
    ],
)
def test_bytes_agree_but_for_their_framing(one: Entry, other: Event, *, same: bool) -> None:
    """gRPC's are framed by 5 bytes exactly; what the bridge from REST adds is at most 1024."""
    assert agree(one, other) is same
    window = opened()
    window.entry(b"1", one)
    window.event(b"1", other)
    assert window.take()[PLACE].bytes_differ == (not same)


def test_what_could_not_be_kept_is_found_again() -> None:
    """It is added to what was found meanwhile; rows for which there is no room are forgotten."""
    window = opened()
    window.alone(booked())
    found = window.take()
    window.alone(booked())
    window.give_back({**found, ALONE: Compared(edge_only=1)}, most_rows=1)
    assert window.take() == {PLACE: Compared(ledger_only=2)}
