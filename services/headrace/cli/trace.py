"""`headrace trace`: where the time of one request went."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import grpc

from headrace.cli.errors import CliError
from headrace.cli.mesh import channel, listed, services, state_of, token
from headrace.cli.output import Output
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


def trace(which: str, state_dir: Path, output: Output) -> None:
    """The spans of a trace as a waterfall; waits for its root, at most `WAIT_S`."""
    state = state_of(state_dir)
    addresses = services(listed(state)).get("insight")
    if not addresses:
        raise CliError("insight does not run", "traces are kept by it", "see `headrace status`")
    if which != LAST and not (len(which) == 32 and set(which) <= _HEX):
        raise CliError(
            f"{which!r} is no trace",
            "its identifier has 32 digits of 0-9 and a-f",
            "try `headrace trace last`",
        )
    found, trace_id = asyncio.run(_found(addresses[0], which, state, output))
    if not any(not span.parent_id for span in found.spans):
        output.note(f"the root of this trace has not arrived in {WAIT_S:.0f} s; shown is what has")
    output.document(document(trace_id, found))
    _show(found, output)


async def _found(address: str, which: str, state: StateDir, output: Output) -> tuple[Trace, str]:
    async with channel(address) as opened:
        client = InsightClient(opened, bearer(token(state.operator_token)))
        ours = _remembered(state)
        trace_id = await _newest(client, ours) if which == LAST else which
        output.progress("waiting for the gateway's span")
        return await _complete(client, trace_id, patient=trace_id == ours), trace_id


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


async def _complete(client: InsightClient, trace_id: str, *, patient: bool) -> Trace:
    """The trace with its root, or what there is of it after `WAIT_S`."""
    until = time.monotonic() + WAIT_S
    found = Trace((), ())
    while True:
        try:
            found = await client.trace(trace_id)
        except grpc.aio.AioRpcError as error:
            late = time.monotonic() >= until or not patient
            if error.code() is not grpc.StatusCode.NOT_FOUND or late:
                raise
        if any(not span.parent_id for span in found.spans) or time.monotonic() >= until:
            return found
        await asyncio.sleep(POLL_S)


def _remembered(state: StateDir) -> str:
    """The trace of the last `headrace infer`."""
    try:
        return str(json.loads(state.last_trace.read_bytes())["trace_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def document(trace_id: str, found: Trace) -> dict[str, object]:
    """What `trace --json` prints: the trace's spans, then those linked with it."""
    return {
        "trace_id": trace_id,
        "spans": [_span(span) for span in found.spans],
        "linked_spans": [_span(span) for span in found.linked],
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


def _show(found: Trace, output: Output) -> None:
    if output.as_json:
        return
    width = max(16, min(60, shutil.get_terminal_size((110, 24)).columns - LABEL - SERVICE - 28))
    output.text(f"{'SPAN':<{LABEL}}  {'SERVICE':<{SERVICE}}  {'START':>9}  {'LASTS':>9}")
    for row in waterfall(found.spans, found.linked):
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
