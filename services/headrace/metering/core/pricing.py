"""What the events of a batch cost, a column at a time, to the nano-unit as `prices.Rate.of` has it.

Products are computed in 64 bits where the largest of them fits, in Python's
integers where it does not.
"""

from dataclasses import dataclass

import numpy as np

from headrace.metering.core.batch import Batch, Flags, Ints
from headrace.metering.core.charges import PAYS, Paid
from headrace.metering.core.prices import PriceBook, PriceBooks, Rate

PARTS = ("compute", "network", "storage", "api")

_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Priced:
    """For each event: the version that holds, what its tenant pays and what nobody pays, in nano-units.

    The parts are the columns, in the order of `PARTS`. `charged` tells the events whose
    tenant pays by right, were it for nothing; the others are counted as waste.
    """

    charged: Flags
    version: Ints
    paid: Ints
    wasted: Ints


def priced(batch: Batch, books: PriceBooks, charged: Flags) -> Priced:
    """Prices the batch; an event that is not `charged` was billed before: all that it used is waste."""
    version = versions(batch, books)
    used = np.zeros((len(batch), len(PARTS)), np.int64)
    for number in np.unique(version).tolist():
        book = books.get(number)
        assert book is not None
        of_book = version == number
        used[of_book] = _used(batch, book)[of_book]
    pays = _PAYS[batch.kind] & charged[:, None]
    charges: Flags = np.logical_or.reduce(pays, axis=1)
    paid = np.where(pays, used, 0)
    # Nobody uses an API call: unpaid, it did not happen.
    wasted = np.where(pays | _IS_API, 0, used)
    return Priced(charges, version, paid, wasted)


def versions(batch: Batch, books: PriceBooks) -> Ints:
    """The version that the client was told, else that of the event's time."""
    found = batch.price_version.copy()
    for number in np.unique(found).tolist():
        if books.get(number) is None:
            unknown = batch.price_version == number
            times, inverse = np.unique(batch.time_ms[unknown], return_inverse=True)
            found[unknown] = np.array([books.at(time).version for time in times.tolist()])[inverse]
    return found


def scaled(amounts: Ints, rate: Rate) -> Ints:
    """Each amount's cost; `amounts` may hold Python's integers, costs must fit 64 bits."""
    largest = int(amounts.max(initial=0))
    if amounts.dtype == object or 2 * largest * rate.over + rate.under >= _LIMIT or 2 * rate.under >= _LIMIT:
        return np.array([rate.of(amount) for amount in amounts.tolist()], np.int64)
    return (2 * amounts * rate.over + rate.under) // (2 * rate.under)


def product(left: Ints, right: Ints) -> Ints:
    """The products, in Python's integers when 64 bits might not hold them."""
    if int(left.max(initial=0)) * int(right.max(initial=0)) < _LIMIT:
        small: Ints = left * right
        return small
    exact: Ints = left.astype(object) * right.astype(object)
    return exact


def _used(batch: Batch, book: PriceBook) -> Ints:
    return np.stack(
        (
            scaled(batch.cpu_ns, book.cpu_ns) + scaled(batch.gpu_ns, book.gpu_ns),
            scaled(batch.request_bytes + batch.response_bytes, book.byte),
            scaled(product(batch.stored_bytes, batch.stored_ms), book.byte_ms),
            np.full(len(batch), book.api_call, np.int64),
        ),
        axis=1,
    )


_PAYS = np.zeros((max(PAYS) + 1, len(PARTS)), np.bool_)
"""`PAYS` by the kind's number."""
for _kind, _paid in PAYS.items():
    _PAYS[_kind] = _paid
_IS_API = np.array(PARTS) == "api"
assert Paid._fields == PARTS
