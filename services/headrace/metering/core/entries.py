"""The entries of a segment: double, aggregated, summing to zero in every part.

What a tenant pays (RECEIVABLE) and what nobody pays (WASTE) stand against what
was SUPPLIED. Each amount, and the number of events too, sums to zero over the
entries of a segment, and so over the ledger.
"""

from typing import NamedTuple

import numpy as np

from headrace.metering.core.batch import Batch, Ints
from headrace.metering.core.pricing import Priced
from headrace.metering.usage import UsageKind

RECEIVABLE, WASTE, SUPPLIED = 1, 2, 3

_ANSWERED_WITHOUT_WORK = (UsageKind.CACHED, UsageKind.COALESCED)


class Entry(NamedTuple):
    """One line: what an account gains from one tenant's use of one model within one second."""

    account: int
    second: int
    tenant: str
    model: str
    price_version: int
    events: int
    cached: int
    compute: int
    network: int
    storage: int
    api: int


def entries_of(batch: Batch, costs: Priced) -> list[Entry]:
    """The entries of the batch, grouped by second, tenant, model and price version."""
    pairs = sorted({name[:2] for name in batch.names})
    of_name = np.array([pairs.index(name[:2]) for name in batch.names], np.int64)
    pair = of_name[batch.name]
    second = batch.time_ms // 1000
    starts, order = _groups(second, pair, costs.version)
    sums = np.add.reduceat(_lines(batch, costs)[order], starts, axis=0)
    entries: list[Entry] = []
    for at, line in zip(order[starts].tolist(), sums.tolist(), strict=True):
        tenant, model = pairs[pair[at]]
        key = (int(second[at]), tenant, model, int(costs.version[at]))
        entries.extend(_entries(key, line[:6], line[6:]))
    return entries


def _lines(batch: Batch, costs: Priced) -> Ints:
    """For each event: events, cached and the four parts as the tenant pays them, then as waste."""
    paying = costs.charged
    cached = np.isin(batch.kind, _ANSWERED_WITHOUT_WORK)
    counts = (paying, paying & cached, *costs.paid.T, ~paying, ~paying & cached, *costs.wasted.T)
    return np.stack([column.astype(np.int64) for column in counts], axis=1)


def _groups(second: Ints, pair: Ints, version: Ints) -> tuple[Ints, Ints]:
    """Where each key begins in an order, and the order: events by key."""
    order = np.lexsort((version, pair, second))
    keys = np.stack((second, pair, version), axis=1)[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return np.flatnonzero(new), order


def _entries(key: tuple[int, str, str, int], paid: list[int], wasted: list[int]) -> list[Entry]:
    found = [
        Entry(account, *key, *line) for account, line in ((RECEIVABLE, paid), (WASTE, wasted)) if any(line)
    ]
    supplied = (-(left + right) for left, right in zip(paid, wasted, strict=True))
    return [*found, Entry(SUPPLIED, *key, *supplied)]
