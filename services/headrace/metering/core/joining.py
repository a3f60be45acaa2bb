"""Brings what the edge saw and what the ledger was told together, by request, in any order.

A request's entry and its event come within the window of each other; when it is
over, what is alone is counted as alone. Both sides are multisets of one key: a
retry that ran twice has two events, an idempotency key has a request for each
time that its client tried. The figures do not depend on the order in which the
two sides came.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.metering.core.edge import Ended

Key = bytes | tuple[str, bytes]
"""A hash of the edge's request identifier, or a tenant and a hash of its own idempotency key."""

EXACT_ROUTE = "infer"
"""gRPC's own form of ModelInfer: a body is one framed message."""
FRAME_BYTES = 5
"""gRPC's prefix of a message."""
SLACK_BYTES = 1024
"""What the bridge from REST, or a browser's form of gRPC, adds to a body or takes away at the most."""


class Entry(NamedTuple):
    """A request as the edge saw it.

    `minute` is when it began, in seconds since 1970. `client_key` is its
    idempotency key. `ended` is None where a replica answered with success. Sizes
    are bytes of the headers and of the body.
    """

    minute: int
    route: str
    tenant: str
    request_id: str
    client_key: str | None
    ended: Ended | None
    received_headers: int
    received: int
    sent_headers: int
    sent: int


class Event(NamedTuple):
    """A request as it is booked: bytes of its messages. `minute` is in seconds since 1970, as an entry's."""

    minute: int
    tenant: str
    model: str
    received: int
    sent: int


@dataclass(slots=True)
class Compared:
    """What was found of one tenant and model in one minute; bytes are those of matched requests."""

    matched: int = 0
    bytes_differ: int = 0
    edge_bytes: int = 0
    ledger_bytes: int = 0
    edge_only: int = 0
    ledger_only: int = 0

    def add(self, other: "Compared") -> None:
        """Makes this the sum of both."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


Found = dict[tuple[int, str, str], Compared]
"""By minute, tenant and model."""


@dataclass(slots=True)
class _Tally:
    """What waits under one key: entries that must have an event, those that may, events. `lent` events went to the latter."""

    answered: list[Entry] = field(default_factory=list)
    unanswered: list[Entry] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    lent: int = 0

    @property
    def size(self) -> int:
        return len(self.answered) + len(self.unanswered) + len(self.events)


_Held = dict[Key, Entry | Event | _Tally]
"""What waits: one answered entry or one event by itself, which is nearly all of them, else a tally."""


class JoinWindow:
    """Holds at most `most` entries and events, each for `window_s` to twice that; over `most` they are decided early."""

    def __init__(self, window_s: float, most: int) -> None:
        self._window_s = window_s
        self._most = most
        self._new: _Held = {}
        self._old: _Held = {}
        self._turned: float | None = None
        self._found: Found = {}
        self.waiting = 0
        """Entries and events that have not met yet."""

    def entry(self, key: Key, entry: Entry) -> None:
        """Takes a request of the edge. One that was not answered may be booked or not: it is never missed."""
        held = self._new.get(key) or self._old.get(key)
        if type(key) is bytes:
            if held is None and entry.ended is None:
                self._hold(key, entry)
                return
            if type(held) is Event:
                self._let_go(key)
                self._match(entry, held)
                return
        self._tallied(key, held, entry)

    def event(self, key: Key, event: Event) -> None:
        """Takes an event of the ledger."""
        held = self._new.get(key) or self._old.get(key)
        if type(key) is bytes:
            if held is None:
                self._hold(key, event)
                return
            if type(held) is Entry:
                self._let_go(key)
                self._match(held, event)
                return
        self._tallied(key, held, event)

    def alone(self, event: Event) -> None:
        """Takes an event that says of no request which one it is."""
        self._compared(event).ledger_only += 1

    def expire(self, now: float) -> None:
        """Decides what has waited for the window."""
        if self._turned is None:
            self._turned = now
        while now - self._turned >= self._window_s:
            self._turned = max(self._turned + self._window_s, now - self._window_s)
            self._turn()

    def take(self) -> Found:
        """What was found since the last time."""
        found, self._found = self._found, {}
        return found

    def give_back(self, found: Found, most_rows: int) -> None:
        """Takes back what could not be kept, in at most `most_rows`; what there is no room for is forgotten."""
        for place, compared in found.items():
            if place in self._found or len(self._found) < most_rows:
                self._found.setdefault(place, Compared()).add(compared)

    def _hold(self, key: Key, one: Entry | Event | _Tally, count: int = 1) -> None:
        self._new[key] = one
        self.waiting += count
        if self.waiting > self._most or len(self._new) > self._most:
            self._turn()
            if self.waiting > self._most:  # all of it was in the newer half
                self._turn()

    def _let_go(self, key: Key) -> None:
        if self._new.pop(key, None) is None:
            del self._old[key]
        self.waiting -= 1

    def _tallied(self, key: Key, held: Entry | Event | _Tally | None, one: Entry | Event) -> None:
        """The same for keys that occur more than once, and for entries that need no event."""
        tally = _tally_of(held)
        before = tally.size
        if isinstance(one, Entry):
            self._tally_entry(tally, one)
        else:
            self._tally_event(tally, one)
        # Where it waits already, or it would wait for ever; one that is empty begins anew.
        old = bool(before) and key in self._old
        self._old.pop(key, None)
        self._new.pop(key, None)
        self.waiting += tally.size - before
        if old and tally.size and self.waiting <= self._most:
            self._old[key] = tally
        elif tally.size or not isinstance(key, bytes):
            # An edge's key is one request's: both sides have come. A client's own may come again.
            self._hold(key, tally, 0)

    def _tally_entry(self, tally: _Tally, entry: Entry) -> None:
        answered = entry.ended is None
        if tally.events:
            self._match(entry, tally.events.pop())
            tally.lent += not answered
        elif answered and tally.lent:
            # The event is this request's; the one that it was given to waits in its stead.
            tally.lent -= 1
            tally.unanswered.append(entry)
        else:
            (tally.answered if answered else tally.unanswered).append(entry)

    def _tally_event(self, tally: _Tally, event: Event) -> None:
        if tally.answered:
            self._match(tally.answered.pop(), event)
        elif tally.unanswered:
            self._match(tally.unanswered.pop(), event)
            tally.lent += 1
        else:
            tally.events.append(event)

    def _turn(self) -> None:
        """Decides the older half of what waits."""
        decided, self._old, self._new = self._old, self._new, {}
        for held in decided.values():
            tally = _tally_of(held)
            self.waiting -= tally.size
            for entry in tally.answered:
                self._found.setdefault((entry.minute, entry.tenant, ""), Compared()).edge_only += 1
            for event in tally.events:
                self._compared(event).ledger_only += 1

    def _match(self, entry: Entry, event: Event) -> None:
        found = self._compared(event)
        found.matched += 1
        found.edge_bytes += entry.received + entry.sent
        found.ledger_bytes += event.received + event.sent
        if not agree(entry, event):
            found.bytes_differ += 1

    def _compared(self, event: Event) -> Compared:
        place = event.minute, event.tenant, event.model
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = Compared()
        return found


def _tally_of(held: Entry | Event | _Tally | None) -> _Tally:
    if isinstance(held, _Tally):
        return held
    if isinstance(held, Entry):
        return _Tally(answered=[held])
    return _Tally() if held is None else _Tally(events=[held])


def agree(entry: Entry, event: Event) -> bool:
    """Whether the bytes of both differ by no more than how they are framed."""
    received = entry.received - event.received
    sent = entry.sent - event.sent
    if entry.route == EXACT_ROUTE:
        return received == FRAME_BYTES and sent == (FRAME_BYTES if event.sent else 0)
    return abs(received) <= SLACK_BYTES and abs(sent) <= SLACK_BYTES
