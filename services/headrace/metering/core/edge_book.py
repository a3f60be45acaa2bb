"""The edge's requests, counted by minute, tenant and outcome, and compared with the ledger's events."""

from collections.abc import Iterator

from headrace.metering.core.batch import Batch, present
from headrace.metering.core.edge import Outcome, outcome_of
from headrace.metering.core.joining import EXACT_ROUTE, Entry, Event, Found, JoinWindow, Key
from headrace.metering.core.rows import NO_KEY, hashed

BILLED_ROUTES = frozenset((EXACT_ROUTE, "infer-web", "rest-infer", "openai-infer"))
"""Routes of the gateway whose answered requests have an event."""
MAY_BE_BOOKED = frozenset(
    map(int, (Outcome.ANSWERED, Outcome.FAILED, Outcome.UPSTREAM, Outcome.DEADLINE, Outcome.CANCELLED))
)
"""All others were refused before they used anything."""
ANSWERED = int(Outcome.ANSWERED)
MINUTE_MS = 60_000

Counts = dict[tuple[int, str, int], list[int]]
"""Requests, bytes that came and bytes that went, by minute, tenant and outcome."""


class EdgeBook:
    """Counts at most `most_rows` minutes, tenants and outcomes between two `take`s; more are dropped, and counted as such."""

    def __init__(self, window: JoinWindow, most_rows: int) -> None:
        self._window = window
        self._most_rows = most_rows
        self._counts: Counts = {}
        self._dropped = 0

    @property
    def waiting(self) -> int:
        """Entries and events that have not met yet."""
        return self._window.waiting

    def request(self, entry: Entry) -> None:
        """Counts a request and looks for its event."""
        outcome = ANSWERED if entry.ended is None else int(outcome_of(entry.ended))
        place = entry.minute, entry.tenant, outcome
        counts = self._counts.get(place)
        if counts is None:
            if len(self._counts) >= self._most_rows:
                self._dropped += 1
                return
            counts = self._counts[place] = [0, 0, 0]
        counts[0] += 1
        counts[1] += entry.received_headers + entry.received
        counts[2] += entry.sent_headers + entry.sent
        if entry.route in BILLED_ROUTES and outcome in MAY_BE_BOOKED and entry.tenant:
            self._window.entry(_key(entry), entry)

    def recorded(self, batch: Batch) -> None:
        """Looks for the requests of events that were stored."""
        for key, event in _events(batch):
            if key is None:
                self._window.alone(event)
            else:
                self._window.event(key, event)

    def take(self, now: float) -> tuple[Counts, Found]:
        """What was counted and found since the last time; what has waited for too long is decided."""
        self._window.expire(now)
        counts, self._counts = self._counts, {}
        return counts, self._window.take()

    def dropped_since(self) -> int:
        """Requests that there was no room for, since the last time."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def give_back(self, counts: Counts, found: Found) -> None:
        """Takes back what could not be kept, to be taken again; what there is no room for is dropped."""
        for place, (requests, received, sent) in counts.items():
            if place not in self._counts and len(self._counts) >= self._most_rows:
                self._dropped += requests
                continue
            kept = self._counts.setdefault(place, [0, 0, 0])
            kept[0] += requests
            kept[1] += received
            kept[2] += sent
        self._window.give_back(found, self._most_rows)


def _key(entry: Entry) -> Key:
    if entry.client_key is None:
        return hashed(b"e" + entry.request_id.encode())
    return entry.tenant, hashed(b"c" + entry.client_key.encode())


def _events(batch: Batch) -> Iterator[tuple[Key | None, Event]]:
    columns = zip(
        batch.billing_key.tolist(),
        present(batch.digest).tolist(),
        batch.name.tolist(),
        (batch.time_ms // MINUTE_MS * 60).tolist(),
        batch.request_bytes.tolist(),
        batch.response_bytes.tolist(),
        strict=True,
    )
    for key, of_client, name, minute, received, sent in columns:
        tenant, model, _ = batch.names[name]
        event = Event(minute, tenant, model, received, sent)
        if key == NO_KEY:
            yield None, event
        else:
            yield ((tenant, key) if of_client else key), event
