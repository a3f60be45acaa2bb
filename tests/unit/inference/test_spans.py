"""What a trace shows of a batch, and of a look-up in the near-cache."""

import asyncio

import pytest
from opentelemetry.trace import INVALID_SPAN

from headrace.inference.batch import Batch, Ticket
from headrace.inference.core.cutting import Cut
from headrace.inference.execution import Executed, Work
from headrace.inference.spans import looked_up_near, record
from headrace.runtime.rpc import Call, Caller
from headrace.runtime.telemetry import quiet
from tests.fakes.neighbours import SetClock

PATH = "/a.B/C"
CALLER = Caller("acme", frozenset())


@pytest.mark.parametrize("kept", [b"answer", None])
def test_a_look_up_is_a_child_of_the_call(kept: bytes | None) -> None:
    """Its span tells whether the answer was there, and the answer is what the near-cache said."""
    telemetry, exporter = quiet()
    span, _ = telemetry.begin(PATH, None)
    call = Call(PATH, {}, CALLER, 0.0, span=span)
    assert looked_up_near(telemetry.tracer, call, {b"key": kept}.get, b"key") == kept
    (found,) = exporter.get_finished_spans()
    assert found.name == "near-cache"
    assert found.parent == span.get_span_context()
    assert found.attributes == {"headrace.cache.hit": kept is not None}


def test_a_call_that_is_not_sampled_leaves_no_span() -> None:
    """The look-up is the same, and nothing is recorded."""
    telemetry, exporter = quiet()
    call = Call(PATH, {}, CALLER, 0.0)
    assert looked_up_near(telemetry.tracer, call, {b"key": b"answer"}.get, b"key") == b"answer"
    assert not exporter.get_finished_spans()


async def test_a_batch_and_its_requests_tell_of_each_other() -> None:
    """Links both ways; rows, padding and instance on the batch, the place in it and the wait on the request."""
    telemetry, exporter = quiet()
    spans = [telemetry.begin(PATH, None)[0], INVALID_SPAN, telemetry.begin(PATH, None)[0]]
    loop = asyncio.get_running_loop()
    tickets = [
        Ticket(
            2, (), 1.0, None, Work(2, [], []), Call(PATH, {}, CALLER, 0.0, span=span), loop.create_future()
        )
        for span in spans
    ]
    done = Executed([None] * 3, 5, 6, 7, 8, cells=8, padded=2)
    record(telemetry.tracer, Batch(tickets, Cut(tickets, 6, "idle"), 4.0, done, 3.0, 1), "m", "r", SetClock())
    for span in (spans[0], spans[2]):
        span.end()
    found = exporter.get_finished_spans()
    (batch,) = [span for span in found if span.name == "batch"]
    assert batch.attributes is not None
    told = {name: batch.attributes[f"headrace.batch.{name}"] for name in ("rows", "padding", "instance")}
    assert told == {"rows": 6, "padding": 0.25, "instance": 1}
    requests = [span for span in found if span.name not in ("batch", "queue")]
    assert [span.attributes["headrace.batch.position"] for span in requests if span.attributes] == [0, 4]
    assert {link.context.span_id for link in batch.links} == {span.context.span_id for span in requests}
    assert all([link.context for link in span.links] == [batch.context] for span in requests)
    queues = [span for span in found if span.name == "queue"]
    assert [dict(span.attributes or {}) for span in queues] == [{"headrace.batch.wait_us": 1_000_000}] * 2
