"""`headrace trace`: where the time of one request went, or why it was refused."""

import asyncio
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from headrace.cli.errors import CliError
from headrace.cli.flights import document as flight_document
from headrace.cli.flights import ending, recorded, trace_of
from headrace.cli.mesh import channel, listed, services, state_of, token
from headrace.cli.output import Output
from headrace.inference.v1.flight_pb2 import Flight
from headrace.insight.client import InsightClient, Span, Trace
from headrace.insight.waterfall import Row, waterfall
from headrace.local.statedir import StateDir
from headrace.runtime.channels import bearer

LAST = "last"
# Envoy sends its spans every few seconds: the root comes after the others.
WAIT_S = 8.0
POLL_S = 0.2
LABEL, SERVICE = 44, 10
_HEX = frozenset("0123456789abcdef")
NOTHING = Trace((), ())


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a request: its trace, or else what the replicas recorded of it."""

    trace_id: str
    trace: Trace
    flights: Sequence[Flight] = ()
    partial: bool = False


def trace(which: str, state_dir: Path, output: Output) -> None:
    """The spans of a trace as a waterfall; waits for its root, at most `WAIT_S`.

    Of a request whose trace nobody kept, what the replicas' flight recorders know.
    """
    state = state_of(state_dir)
    if which != LAST and not (_is_trace(which) or _is_request(which)):
        raise CliError(
            f"{which!r} is neither a trace nor a request",
            "a trace has 32 digits of 0-9 and a-f, a request (x-request-id) is a UUID",
            "try `headrace trace last`",
        )
    found = asyncio.run(_Search(state, services(listed(state)), output).found(which))
    output.document(document(found))
    _show(found, output)


def _is_trace(which: str) -> bool:
    return len(which) == 32 and set(which) <= _HEX


def _is_request(which: str) -> bool:
    return [len(part) for part in which.split("-")] == [8, 4, 4, 4, 12] and set(which) <= {*_HEX, "-"}


class _Search:
    """Asks insight, and the replicas for what insight does not have."""

    def __init__(self, state: StateDir, addresses: Mapping[str, Sequence[str]], output: Output) -> None:
        self._state = state
        self._insight = addresses.get("insight", [""])[0]
        self._replicas = addresses.get("inference", [])
        self._credentials = bearer(token(state.operator_token))
        self._output = output

    async def found(self, which: str) -> Found:
        """Raises CliError when nothing is known."""
        if not self._insight and which == LAST:
            raise CliError("insight does not run", "traces are kept by it", "see `headrace status`")
        trace, flights, trace_id = NOTHING, await self._of_request(which), "" if which == LAST else which
        if _is_request(which):
            trace_id = flights[-1].trace_id if flights else ""
        if self._insight and (trace_id or which == LAST):
            async with channel(self._insight) as opened:
                client = InsightClient(opened, self._credentials)
                trace_id = trace_id or await _newest(client, _remembered(self._state))
                trace, flights = await self._complete(client, trace_id, flights)
        if trace.spans:
            return Found(trace_id, trace, flights)
        flights = flights or await self._of_trace(trace_id)
        if not flights:
            raise _unknown(trace_id or which)
        return Found(trace_id, trace_of(flights), flights, partial=True)

    async def _of_request(self, which: str) -> Sequence[Flight]:
        return await self._recorded(request_id=which) if _is_request(which) else ()

    async def _of_trace(self, trace_id: str) -> Sequence[Flight]:
        return await self._recorded(trace_id=trace_id) if trace_id else ()

    async def _recorded(self, *, request_id: str = "", trace_id: str = "") -> Sequence[Flight]:
        return await recorded(
            self._replicas, self._credentials, self._output.note, request_id=request_id, trace_id=trace_id
        )

    async def _complete(
        self, client: InsightClient, trace_id: str, flights: Sequence[Flight]
    ) -> tuple[Trace, Sequence[Flight]]:
        """The trace with its root, or what there is of it after `WAIT_S`; and its flights, if they were needed.

        A trace of which no span has come yet is waited for only if one may come.
        """
        until = time.monotonic() + WAIT_S
        found = NOTHING
        while True:
            try:
                found = await client.trace(trace_id)
            except grpc.aio.AioRpcError as error:
                self._told(error)
                flights = flights or await self._of_trace(trace_id)
                if not any(map(_may_come, flights)):
                    return NOTHING, flights
            if whole(found):
                return found, flights
            if time.monotonic() >= until:
                if found.spans:
                    late = f"spans of this trace have not arrived in {WAIT_S:.0f} s; shown is what has"
                    self._output.note(late)
                return found, flights
            self._output.progress("waiting for the rest of its spans")
            await asyncio.sleep(POLL_S)

    def _told(self, error: grpc.aio.AioRpcError) -> None:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            self._output.note(f"insight did not answer ({error.code().name}): {error.details()}")


def whole(found: Trace) -> bool:
    """Whether there is a root, each span's parent, and more than the gateway's span if a replica was asked.

    Each process sends its spans when its batch is due: any of them may be the last.
    """
    known = {span.span_id for span in found.spans}
    roots = [span for span in found.spans if not span.parent_id]
    if not roots or any(span.parent_id and span.parent_id not in known for span in found.spans):
        return False
    asked = roots[0].attributes.get("upstream_cluster", "").startswith("inference")
    return len(found.spans) > 1 or not asked


def _may_come(flight: Flight) -> bool:
    """Whether spans of this request may still be on their way to insight."""
    ended_ns = flight.arrival_time.ToNanoseconds() + flight.duration.ToNanoseconds()
    return flight.sampled and time.time_ns() - ended_ns < WAIT_S * 1e9


def _unknown(which: str) -> CliError:
    return CliError(
        f"nothing is known of {which}",
        "insight has no span of it, and it is not among the last requests of any replica:\n"
        "it is too old, or it never reached a replica because the gateway refused it itself",
        "the gateway's refusals are in its answer and its access log; see `headrace trace last`",
    )


async def _newest(client: InsightClient, ours: str) -> str:
    """The trace that started last; that of our own `infer` may not have arrived."""
    newest = await client.newest(1, service="gateway")
    if not ours:
        if not newest:
            raise CliError("there is no trace yet", "nothing was inferred", "try `headrace infer`")
        return newest[0].trace_id
    if not newest:
        return ours
    with_ours = [summary.trace_id for summary in await client.newest(1000)]
    return newest[0].trace_id if ours in with_ours else ours


def _remembered(state: StateDir) -> str:
    """The trace of the last `headrace infer`."""
    try:
        return str(json.loads(state.last_trace.read_bytes())["trace_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def document(found: Found) -> dict[str, object]:
    """What `trace --json` prints: the trace's spans, then those linked with it.

    `partial` is a trace made of what replicas recorded; `flights` is that.
    """
    return {
        "trace_id": found.trace_id,
        "partial": found.partial,
        "spans": [_span(span) for span in found.trace.spans],
        "linked_spans": [_span(span) for span in found.trace.linked],
        "flights": [flight_document(flight) for flight in found.flights],
    }


def _span(span: Span) -> dict[str, object]:
    return {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "service": span.service,
        "name": span.name,
        "start_ns": span.start_ns,
        "duration_ns": span.duration_ns,
        "failed": span.failed,
        "attributes": dict(span.attributes),
        "links": [{"trace_id": link.trace_id, "span_id": link.span_id} for link in span.links],
    }


def _show(found: Found, output: Output) -> None:
    if output.as_json:
        return
    if found.partial:
        output.text("partial: no trace was kept of this; shown is what its replica recorded")
        for flight in found.flights:
            output.text(ending(flight))
    width = max(16, min(60, shutil.get_terminal_size((110, 24)).columns - LABEL - SERVICE - 28))
    output.text(f"{'SPAN':<{LABEL}}  {'SERVICE':<{SERVICE}}  {'START':>9}  {'LASTS':>9}")
    for row in waterfall(found.trace.spans, found.trace.linked):
        label = f"{'  ' * row.depth}{'↔ ' if row.linked else ''}{row.label}{' ✗' if row.span.failed else ''}"
        times = f"{_ms(row.offset_ns):>9}  {_ms(row.duration_ns):>9}"
        output.text(f"{_cut(label, LABEL)}  {row.service:<{SERVICE}}  {times}  {_bar(row, width)}")


def _bar(row: Row, width: int) -> str:
    start = min(width - 1, round(row.bar_start * width))
    length = max(1, min(width - start, round(row.bar_width * width)))
    return (" " * start + ("░" if row.linked else "█") * length).rstrip()


def _cut(text: str, width: int) -> str:
    return f"{text[: width - 1]}…" if len(text) > width else text.ljust(width)


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.3f} ms"
