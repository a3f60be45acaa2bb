"""The flight recorder: hears of every call's end, and answers what became of a request.

A slow, failed or unsampled request can so be explained after it has gone. Holds
names, times and amounts; no tensor, no text, no token ever comes near it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.trace import INVALID_SPAN

from headrace.inference import errors
from headrace.inference.batcher import Batch
from headrace.inference.core.flights import (
    NO_ID,
    BatchFacts,
    Flight,
    FlightRing,
    Kind,
    Progress,
)
from headrace.runtime.access import OPERATE
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call, Caller

REQUEST_ID = "x-request-id"
UUID_TEXT = 36
"""Characters of one."""

NOTHING_DONE = Progress("")


@dataclass(frozen=True, slots=True)
class Question:
    """Which flights a list is to have. Empty texts mean any."""

    limit: int
    slowest: bool = False
    failed: bool = False
    model: str = ""
    tenant: str = ""


class FlightRecorder:
    """Keeps the last `capacity` calls; those of the methods in `untold` leave no flight."""

    def __init__(self, capacity: int, clock: Clock, untold: frozenset[str] = frozenset()) -> None:
        self._ring = FlightRing(capacity)
        self._epoch_ns = clock.time_ns() - int(clock.monotonic() * 1e9)
        self._untold = untold
        self._batches = 0

    def executed(self, batch: Batch) -> None:
        """Notes the batch for those of its requests whose calls have not ended yet."""
        self._batches += 1
        done = batch.executed
        facts = BatchFacts(self._batches, batch.rows, batch.why, done.started_ns * 1e-9, done.ended_ns * 1e-9)
        for ticket in batch.tickets:
            progress = ticket.call.progress
            if progress is not None:
                progress.queued = ticket.arrived
                progress.batch = facts

    def ended(self, call: Call, code: int, reason: str, now: float) -> None:
        """Records the call."""
        if call.method in self._untold:
            return
        progress: Progress = call.progress or NOTHING_DONE
        self._ring.add(
            (
                call.caller.tenant,
                progress.model,
                call.method,
                code,
                reason,
                progress.cache,
                progress.batch.cut,
            ),
            _request_id(call.metadata.get(REQUEST_ID)),
            bytes.fromhex(call.trace_id) if call.trace_id else NO_ID,
            call.arrived,
            now,
            progress,
            sampled=call.span is not INVALID_SPAN,
        )

    async def find(self, request_id: str, trace_id: str, caller: Caller) -> list[Flight]:
        """What the caller may know of a request or a trace, of which exactly one is named.

        Raises FIELD_INVALID, FLIGHT_NOT_FOUND.
        """
        if bool(request_id) == bool(trace_id):
            raise errors.field_invalid("request_id", "give either request_id or trace_id")
        search: Callable[[bytes, str], list[Flight]]
        if request_id:
            search, identifier = self._ring.of_request, _request_id(request_id)
        else:
            search, identifier = self._ring.of_trace, _bytes_of(trace_id)
        if identifier == NO_ID:
            field, form = ("request_id", "a UUID") if request_id else ("trace_id", "32 hexadecimal digits")
            raise errors.field_invalid(field, f"must be {form}, not all zero")
        flights = await asyncio.to_thread(search, identifier, _only(caller))
        if not flights:
            raise errors.flight_not_found(request_id or trace_id)
        return flights

    async def listed(self, question: Question, caller: Caller) -> list[Flight]:
        """The flights that the question asks for and the caller may see."""
        only = _only(caller)

        def wanted(kind: Kind) -> bool:
            return (
                only in ("", kind.tenant)
                and question.tenant in ("", kind.tenant)
                and question.model in ("", kind.model)
                and (not question.failed or kind.code != 0)
            )

        search = self._ring.slowest if question.slowest else self._ring.newest
        return await asyncio.to_thread(search, question.limit, wanted)

    def wall_ns(self, monotonic: float) -> int:
        """A flight's time as nanoseconds since 1970, by the clocks of when the recorder was made.

        A wall clock that has jumped since does not move what was recorded.
        """
        return self._epoch_ns + int(monotonic * 1e9)


def _only(caller: Caller) -> str:
    """The tenant whose flights the caller may see; empty for who operates the mesh, who sees all."""
    return "" if OPERATE in caller.scopes else caller.tenant


def _request_id(value: object) -> bytes:
    """A UUID's bytes; zeros for anything else. One of several requests of a call has a number behind the call's."""
    if not isinstance(value, str) or (len(value) != UUID_TEXT and value[UUID_TEXT : UUID_TEXT + 1] != "/"):
        return NO_ID
    return _bytes_of(value[:UUID_TEXT].replace("-", ""))


def _bytes_of(digits: str) -> bytes:
    try:
        identifier = bytes.fromhex(digits)
    except ValueError:
        return NO_ID
    return identifier if len(identifier) == 16 else NO_ID
