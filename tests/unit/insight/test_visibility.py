"""Which spans of a trace a tenant may see."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.insight.core.visibility import visible
from headrace.insight.spans import TENANT, Span, Trace
from tests.fakes.insight import stored_span

ACME, OTHER = "acme", "other"
SPANS = st.lists(
    st.builds(
        lambda span, parent, tenant: stored_span(1, span, parent=parent, tenant=tenant),
        st.integers(1, 12),
        st.integers(0, 12),
        st.sampled_from(["", ACME, OTHER]),
    ),
    unique_by=lambda span: span.span_id,
    max_size=12,
)


def spans_of(trace: Trace) -> list[int]:
    return [int(span.span_id, 16) for span in trace.spans]


def test_a_request_is_seen_whole_by_its_tenant() -> None:
    """The gateway's span names it; what happened below that does not, and is seen all the same."""
    spans = (
        stored_span(1, 1, tenant=ACME, service="gateway"),
        stored_span(1, 2, parent=1),
        stored_span(1, 3, parent=2, service="cache"),
    )
    assert visible(Trace(spans, ()), ACME).spans == spans
    assert visible(Trace(spans, ()), OTHER) == Trace((), ())


def test_spans_that_another_tenant_sent_into_the_trace_are_not_seen() -> None:
    """Knowing a trace's identifier gives nobody more than its own spans of it."""
    spans = (
        stored_span(1, 1, tenant=ACME),
        stored_span(1, 2, parent=1),
        stored_span(1, 3, parent=2, tenant=OTHER),
        stored_span(1, 4, parent=3),
    )
    assert spans_of(visible(Trace(spans, ()), ACME)) == [1, 2]
    assert spans_of(visible(Trace(spans, ()), OTHER)) == [3, 4]


def test_what_names_nobody_is_nobodys() -> None:
    """A span without a tenant above it is for operators only: its parent is missing, or names none."""
    spans = (stored_span(1, 1), stored_span(1, 2, parent=1), stored_span(1, 3, parent=9))
    assert visible(Trace(spans, ()), ACME).spans == ()


def test_a_batch_is_seen_from_its_requests_without_the_others() -> None:
    """The trace identifiers of other tenants' requests are not told."""
    request = stored_span(1, 1, tenant=ACME, links=[(9, 1)])
    batch = stored_span(9, 1, links=[(1, 1), (2, 1)])
    found = visible(Trace((request,), (batch,)), ACME)
    assert found.spans == (request,)
    assert found.linked == (replace(batch, links=batch.links[:1]),)
    assert visible(Trace((batch,), (request,)), ACME).spans == ()


def test_linked_spans_of_others_are_not_seen() -> None:
    """Neither one that names another tenant, nor one that only another's span is linked with."""
    own, foreign = stored_span(1, 1, tenant=ACME), stored_span(1, 2, tenant=OTHER, links=[(9, 1)])
    theirs = stored_span(8, 1, tenant=OTHER, links=[(1, 1)])
    found = visible(Trace((own, foreign), (theirs, stored_span(9, 1))), ACME)
    assert (found.spans, found.linked) == ((own,), ())


@given(SPANS)
def test_a_span_is_seen_by_one_tenant_at_the_most(spans: list[Span]) -> None:
    """Whatever the shape, circles included: what names a tenant is that one's and nobody else's."""
    seen = {tenant: set(spans_of(visible(Trace(tuple(spans), ()), tenant))) for tenant in (ACME, OTHER)}
    assert seen[ACME].isdisjoint(seen[OTHER])
    for span in spans:
        named = span.attributes.get(TENANT)
        if named:
            assert int(span.span_id, 16) in seen[named]


def test_a_long_chain_is_followed() -> None:
    """As long as a trace may be."""
    chain = [stored_span(1, 1, tenant=ACME), *(stored_span(1, n, parent=n - 1) for n in range(2, 10_001))]
    assert len(visible(Trace(tuple(reversed(chain)), ()), ACME).spans) == 10_000
