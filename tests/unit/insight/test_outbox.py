"""The queue before a receiver, and what of an export leaves."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from headrace.insight.core.outbox import Outbox, Part, outgoing
from headrace.insight.core.secrets import REDACTED
from tests.fakes.insight import otlp_request, otlp_span, span_id


def part(size: int) -> Part:
    """An export of `size` bytes; what they are is nobody's concern here."""
    return Part(bytes(size), 1)


def sent(request: ExportTraceServiceRequest) -> Part:
    """The export as it was received."""
    return Part(request.SerializeToString(), 1)


def test_what_finds_no_room_is_refused() -> None:
    """The newest is refused, what waits stays; room comes back when a batch is settled."""
    outbox = Outbox(limit_bytes=10, batch_bytes=10)
    first = part(6)
    assert outbox.offer(first)
    assert not outbox.offer(part(5))
    assert outbox.offer(part(4))
    outbox.settled(outbox.batch())
    assert outbox.bytes == 0
    assert outbox.offer(part(10))


def test_a_batch_stays_until_it_is_settled() -> None:
    """What could not be sent is the next batch again, and what came meanwhile is behind it."""
    outbox = Outbox(limit_bytes=100, batch_bytes=100)
    first, second = part(1), part(2)
    outbox.offer(first)
    batch = outbox.batch()
    outbox.offer(second)
    assert outbox.batch() == [first, second]
    outbox.settled(batch)
    assert outbox.batch() == [second]


def test_an_export_above_a_batch_goes_alone() -> None:
    """It neither waits for ever nor takes others with it."""
    outbox = Outbox(limit_bytes=100, batch_bytes=10)
    sizes = [4, 50, 4, 4, 4]
    for size in sizes:
        outbox.offer(part(size))
    batches = []
    while batch := outbox.batch():
        batches.append([len(one.data) for one in batch])
        outbox.settled(batch)
    assert batches == [[4], [50], [4, 4], [4]]


@given(st.lists(st.one_of(st.integers(0, 30), st.none())), st.integers(1, 60), st.integers(1, 60))
def test_bounded_in_order_and_each_once(steps: list[int | None], limit: int, batch: int) -> None:
    """Whatever comes and goes: never above the bound, and what was taken leaves in its order, once."""
    outbox, accepted, left = Outbox(limit, batch), [], []
    for number, size in enumerate(steps):
        if size is None:
            taken = outbox.batch()
            left += taken
            outbox.settled(taken)
        else:
            one = Part(bytes(size), number)
            if outbox.offer(one):
                accepted.append(one)
        assert 0 <= outbox.bytes <= limit
    while taken := outbox.batch():
        left += taken
        outbox.settled(taken)
    assert (left, outbox.bytes) == (accepted, 0)


def test_a_batch_leaves_as_one_export() -> None:
    """Every span with its resource, in order, byte for byte as it came."""
    first = otlp_request(otlp_span(1, 1), otlp_span(1, 2, links=[(3, 3)]), service="gateway")
    second = otlp_request(otlp_span(2, 1), service="inference")
    left = outgoing([sent(first), sent(second)])
    assert left.spans == 3
    request = ExportTraceServiceRequest.FromString(left.data)
    assert list(request.resource_spans) == [*first.resource_spans, *second.resource_spans]


def test_impossible_spans_do_not_leave() -> None:
    """They were refused when they came; the spans around them leave."""
    request = otlp_request(*(otlp_span(1, number) for number in range(1, 5)))
    spans = request.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id, spans[2].span_id = b"short", bytes(8)
    left = outgoing([sent(request)])
    assert left.spans == 2
    (resource,) = ExportTraceServiceRequest.FromString(left.data).resource_spans
    assert [span.span_id for span in resource.scope_spans[0].spans] == [span_id(2), span_id(4)]


def test_no_secret_leaves() -> None:
    """In whatever place of an export OTLP has attributes."""
    request = otlp_request(otlp_span(1, 1, links=[(2, 2)]))
    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    (span,) = scope.spans
    places: list[Any] = [resource.resource, scope.scope, span, span.events.add(), span.links[0]]
    for place in places:
        place.attributes.append(KeyValue(key="session.token", value=AnyValue(string_value="canary")))
    left = outgoing([sent(request)]).data
    assert b"canary" not in left
    assert left.count(REDACTED.encode()) == len(places)
