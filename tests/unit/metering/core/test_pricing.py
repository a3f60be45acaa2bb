"""Costs of whole columns: the same numbers as one by one, at any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.bounds import MAX_BYTES, MAX_EVENTS, MAX_STORED_MS, MAX_TIME_NS
from headrace.metering.core.charges import PAYS, cost_of
from headrace.metering.core.prices import MAX_PRICE, PriceBook, PriceBooks, Rate
from headrace.metering.core.pricing import priced, scaled
from headrace.metering.usage import UsageEvent, UsageKind
from tests.fakes.metering import BOOKS, NOON_MS, event, recording

DEAR = PriceBook(2, "USD", NOON_MS, MAX_PRICE, MAX_PRICE, MAX_PRICE, MAX_PRICE, MAX_PRICE)
BOTH = PriceBooks([*BOOKS.all, DEAR])

events = st.builds(
    event,
    kind=st.sampled_from(list(UsageKind)),
    cpu_ns=st.integers(0, MAX_TIME_NS),
    gpu_ns=st.integers(0, MAX_TIME_NS),
    request_bytes=st.integers(0, MAX_BYTES),
    response_bytes=st.integers(0, MAX_BYTES),
    stored_bytes=st.integers(0, MAX_BYTES),
    stored_ms=st.integers(0, MAX_STORED_MS),
    time_ms=st.integers(NOON_MS - 2, NOON_MS + 2),
)


@given(st.lists(events, min_size=1, max_size=8))
def test_the_ledger_charges_what_the_client_was_told(some: list[UsageEvent]) -> None:
    """Column by column and event by event the cost is the same, to the nano-unit, up to every bound."""
    batch = recording(some).batch
    costs = priced(batch, BOTH, np.ones(len(some), np.bool_))
    for paid, one in zip(costs.paid.tolist(), some, strict=True):
        told = cost_of(one, BOTH.at(one.time_ms))
        assert paid == [told.compute, told.network, told.storage, told.api]


@given(st.lists(events, min_size=1, max_size=8), st.data())
def test_what_is_not_paid_is_wasted(some: list[UsageEvent], data: st.DataObject) -> None:
    """Paid and wasted together are all that was used; an unpaid call is no use of anything."""
    charged = np.array(data.draw(st.lists(st.booleans(), min_size=len(some), max_size=len(some))))
    costs = priced(recording(some).batch, BOTH, charged)
    full = priced(recording([_executed(one) for one in some]).batch, BOTH, np.ones(len(some), np.bool_))
    together = costs.paid + costs.wasted
    assert (together[:, :3] == full.paid[:, :3]).all()
    assert not costs.wasted[:, 3].any()
    assert not costs.paid[~charged].any()


def test_who_pays_is_the_table_of_the_readme() -> None:
    """Cached and coalesced: network and call. Failed: nothing. Cancelled: compute only."""
    parts = {
        kind.name: "".join(name[0] for name, pays in zip(p._fields, p, strict=True) if pays)
        for kind, p in PAYS.items()
    }
    assert parts == {"EXECUTED": "cnsa", "CACHED": "na", "COALESCED": "na", "FAILED": "", "CANCELLED": "c"}


def test_the_largest_batch_fits_64_bits() -> None:
    """4096 events at every bound and at the highest prices sum to less than 2^63, exactly."""
    largest = event(
        cpu_ns=MAX_TIME_NS,
        gpu_ns=MAX_TIME_NS,
        request_bytes=MAX_BYTES,
        response_bytes=MAX_BYTES,
        stored_bytes=MAX_BYTES,
        stored_ms=MAX_STORED_MS,
    )
    one = cost_of(largest, DEAR).total
    assert one * MAX_EVENTS < 2**63
    costs = priced(recording([largest] * MAX_EVENTS).batch, BOTH, np.ones(MAX_EVENTS, np.bool_))
    assert int(costs.paid.sum()) == one * MAX_EVENTS


@given(st.lists(st.integers(0, 2**48), min_size=1, max_size=4), st.integers(1, 10**12), st.integers(1, 2**62))
def test_products_above_64_bits_are_exact(amounts: list[int], over: int, under: int) -> None:
    """Where a product would wrap around, Python's integers compute it."""
    rate = Rate(over, under)
    expected = [rate.of(amount) for amount in amounts]
    if max(expected) < 2**63:
        assert scaled(np.array(amounts, np.int64), rate).tolist() == expected


@pytest.mark.parametrize(("told", "version"), [(0, 2), (1, 1), (2, 2), (9, 2)])
def test_the_version_that_was_told_holds(told: int, version: int) -> None:
    """An event is priced as its client was told; by its time when it was told nothing that is known."""
    costs = priced(recording([event(time_ms=NOON_MS)], price_version=told).batch, BOTH, np.array([True]))
    assert costs.version.tolist() == [version]


def _executed(one: UsageEvent) -> UsageEvent:
    one = event(**{name: getattr(one, name) for name in ("cpu_ns", "gpu_ns", "request_bytes", "response_bytes", "stored_bytes", "stored_ms", "time_ms")})  # fmt: skip
    one.kind = UsageKind.EXECUTED
    return one
