"""Batches between the contract and the ledger."""

from collections.abc import Callable

import pytest

from headrace.metering.core.bounds import MAX_EVENTS, MAX_TIME_NS
from headrace.metering.core.prices import DEFAULT_BOOK
from headrace.metering.v1.usage_pb2 import UsageBatch
from headrace.metering.wire import batch_from, book_from, book_message
from headrace.runtime.errors import HeadraceError
from tests.fakes.metering import event, recording


def message() -> UsageBatch:
    return UsageBatch.FromString(recording([event(b"k", digest=b"d"), event(tenant="umbrella")]).message)


def test_a_batch_comes_as_it_was_sent() -> None:
    """Columns in order, names by position, absent digests as zeros."""
    batch = batch_from(message())
    assert [batch.names[i][0] for i in batch.name.tolist()] == ["acme", "umbrella"]
    assert batch.cpu_ns.tolist() == [36_000, 36_000]
    assert not recording([event(b"k")]).batch.digest.tobytes().strip(b"\0")


def change(field: str, value: object) -> Callable[[UsageBatch], None]:
    def apply(batch: UsageBatch) -> None:
        getattr(batch, field)[0] = value

    return apply


@pytest.mark.parametrize(
    ("column", "damage"),
    [
        ("kinds", lambda b: b.ClearField("kinds")),
        ("kinds", lambda b: b.kinds.extend([1] * MAX_EVENTS)),
        ("kinds", change("kinds", 0)),
        ("kinds", change("kinds", 99)),
        ("rows", lambda b: b.rows.append(1)),
        ("names", lambda b: b.names[0].ClearField("tenant")),
        ("names", lambda b: b.names[0].ClearField("model")),
        ("names", lambda b: setattr(b.names[0], "model", "x" * 2000)),
        ("name_indexes", change("name_indexes", 2)),
        ("cpu_ns", change("cpu_ns", MAX_TIME_NS + 1)),
        ("cpu_ns", change("cpu_ns", 2**64 - 1)),
        ("billing_keys", lambda b: setattr(b, "billing_keys", b"x")),
        ("digests", lambda b: setattr(b, "digests", b"x")),
    ],
)
def test_a_batch_that_can_not_be_read_names_the_column(
    column: str, damage: Callable[[UsageBatch], None]
) -> None:
    """Nothing is guessed: lengths, kinds, positions and bounds are checked before anything is stored."""
    batch = message()
    damage(batch)
    with pytest.raises(HeadraceError) as error:
        batch_from(batch)
    assert (error.value.reason, error.value.metadata["column"]) == ("BATCH_INVALID", column)


def test_a_price_book_comes_as_it_was_sent() -> None:
    """The client prices by what the ledger prices by."""
    assert book_from(book_message(DEFAULT_BOOK)) == DEFAULT_BOOK
