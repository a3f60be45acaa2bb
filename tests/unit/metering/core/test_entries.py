"""Double entries: every part of every batch sums to zero."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.entries import RECEIVABLE, SUPPLIED, WASTE, Entry, entries_of
from headrace.metering.core.pricing import priced
from headrace.metering.usage import UsageEvent, UsageKind
from tests.fakes.metering import BOOKS, NOON_MS, event, recording

events = st.builds(
    event,
    tenant=st.sampled_from(["acme", "umbrella"]),
    model=st.sampled_from(["linear", "minilm"]),
    kind=st.sampled_from(list(UsageKind)),
    cpu_ns=st.integers(0, 10**12),
    stored_bytes=st.integers(0, 10**9),
    stored_ms=st.integers(0, 10**9),
    time_ms=st.integers(NOON_MS, NOON_MS + 3000),
)


@given(st.lists(st.tuples(events, st.booleans()), min_size=1, max_size=30))
def test_entries_sum_to_zero(judged: list[tuple[UsageEvent, bool]]) -> None:
    """Over a segment each column of amounts and counts is zero, whoever pays for what."""
    some, charged = [one for one, _ in judged], np.array([free for _, free in judged])
    entries = entries_of(batch := recording(some).batch, costs := priced(batch, BOOKS, charged))
    for column in Entry._fields[5:]:
        assert sum(getattr(entry, column) for entry in entries) == 0
    assert sum(entry.events for entry in entries if entry.account != SUPPLIED) == len(some)
    for account, amounts in ((RECEIVABLE, costs.paid), (WASTE, costs.wasted)):
        assert sum(sum(entry[7:]) for entry in entries if entry.account == account) == int(amounts.sum())


def test_entries_are_grouped_by_second_tenant_and_model() -> None:
    """Events that differ in none of them share a line."""
    some = [event(), event(), event(tenant="umbrella"), event(time_ms=NOON_MS + 1000), event(model="minilm")]
    batch = recording(some).batch
    entries = entries_of(batch, priced(batch, BOOKS, np.ones(5, np.bool_)))
    lines = [
        (e.second - NOON_MS // 1000, e.tenant, e.model, e.events) for e in entries if e.account == RECEIVABLE
    ]
    assert lines == [(0, "acme", "linear", 2), (0, "acme", "minilm", 1), (0, "umbrella", "linear", 1), (1, "acme", "linear", 1)]  # fmt: skip


def test_a_cancelled_request_is_counted_once() -> None:
    """Its compute is the tenant's and its network is waste, its count is the tenant's alone."""
    batch = recording([event(kind=UsageKind.CANCELLED)]).batch
    paid, waste, supplied = entries_of(batch, priced(batch, BOOKS, np.array([True])))
    assert (paid.account, paid.events, *paid[7:]) == (RECEIVABLE, 1, 1, 0, 0, 0)
    assert (waste.account, waste.events, *waste[7:]) == (WASTE, 0, 0, 10, 0, 0)
    assert (supplied.account, supplied.events, *supplied[7:]) == (SUPPLIED, -1, -1, -10, 0, 0)
