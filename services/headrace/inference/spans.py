"""What a trace shows of a batch.

The batch is the root of a trace of its own, since many requests caused it: it
links to every sampled request that it executed, and each of those links back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Link, Tracer, set_span_in_context

from headrace.inference.batcher import Batch
from headrace.runtime.clock import Clock
from headrace.runtime.rpc import Call


def record(tracer: Tracer, batch: Batch, model: str, replica: str, clock: Clock) -> None:
    """Writes the batch's span and each sampled request's wait in the queue.

    Costs one comparison a request when none of them is sampled.
    """
    sampled = [ticket for ticket in batch.tickets if ticket.call.span.is_recording()]
    if not sampled:
        return
    to_epoch_ns = clock.time_ns() - int(clock.monotonic() * 1e9)
    started_ns = batch.executed.started_ns + to_epoch_ns
    span = tracer.start_span(
        "batch",
        context=Context(),
        start_time=started_ns,
        links=[Link(ticket.call.span.get_span_context()) for ticket in sampled],
        attributes={
            "headrace.model": model,
            "headrace.replica": replica,
            "headrace.batch.rows": batch.rows,
            "headrace.batch.requests": len(batch.tickets),
            "headrace.batch.cut": batch.why,
            "headrace.batch.runs": batch.executed.runs,
            "headrace.batch.bound": batch.cut.bound,
            "headrace.batch.padding": round(batch.padding, 4),
            "headrace.batch.instance": batch.instance,
        },
    )
    position = 0
    for ticket in batch.tickets:
        before, position = position, position + ticket.rows
        request = ticket.call.span
        if not request.is_recording():
            continue
        request.add_link(span.get_span_context())
        request.set_attribute("headrace.batch.rows", batch.rows)
        request.set_attribute("headrace.batch.position", before)
        wait = tracer.start_span(
            "queue",
            context=set_span_in_context(request, Context()),
            start_time=int(ticket.arrived * 1e9) + to_epoch_ns,
            attributes={"headrace.batch.wait_us": batch.wait_ns(ticket) // 1000},
        )
        wait.end(started_ns)
    span.end(batch.executed.ended_ns + to_epoch_ns)


@contextmanager
def guard_span(tracer: Tracer, call: Call) -> Iterator[None]:
    """The time in which the guard is asked, as a child of the call's span."""
    if not call.span.is_recording():
        yield
        return
    span = tracer.start_span("guard", context=set_span_in_context(call.span, Context()))
    try:
        yield
    finally:
        span.end()


def looked_up_near(
    tracer: Tracer, call: Call, near: Callable[[bytes], bytes | None], key: bytes
) -> bytes | None:
    """What `near` has for the key; the look-up is a child of the call's span.

    Costs one comparison when the call is not sampled.
    """
    if not call.span.is_recording():
        return near(key)
    span = tracer.start_span("near-cache", context=set_span_in_context(call.span, Context()))
    try:
        found = near(key)
        span.set_attribute("headrace.cache.hit", found is not None)
        return found
    finally:
        span.end()
