"""Queues of the batching core, filled."""

from collections.abc import Iterator
from math import inf

from headrace.inference.core.cutting import Cut
from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.queue import BatchQueue


def item(
    arrived: float,
    *,
    rows: int = 1,
    bucket: str = "a",
    deadline: float | None = None,
    tenant: str = "",
    level: int = 1,
    length: int = 1,
    length_class: int = 0,
    start_by: float = inf,
    delays: bool = False,
) -> Item:
    """A request; the usual one is of one row, one tenant, one level, and has no deadline."""
    return Item(
        rows,
        bucket,
        arrived,
        deadline,
        tenant=tenant,
        level=level,
        length=length,
        length_class=length_class,
        start_by=start_by,
        delays=delays,
    )


def filled(
    policy: BatchPolicy, *items: Item, instances: int = 1, weights: dict[str, float] | None = None
) -> BatchQueue[Item]:
    """A queue in which they all wait."""
    queue: BatchQueue[Item] = BatchQueue(policy, instances, weights)
    for one in items:
        assert queue.offer(one) is None
    return queue


def cuts(queue: BatchQueue[Item], now: float, seconds: float | None = None) -> Iterator[Cut[Item]]:
    """One batch after the other, each completed before the next is cut."""
    while (cut := queue.take(now).cut) is not None:
        yield cut
        queue.completed(cut, seconds)


def taught(
    queue: BatchQueue[Item], base_s: float, slope_s: float, bucket: str = "a", at: float = 0.0
) -> BatchQueue[Item]:
    """The queue after 40 batches of 1, 2, 4 and 8 rows that took base_s + slope_s x rows each."""
    for number in range(40):
        rows = min(2 ** (number % 4), queue.policy.max_batch_size)
        assert queue.offer(item(at, rows=rows, bucket=bucket)) is None
        for cut in cuts(queue, at + 1e6):
            cut.curve.observe(cut.cells, base_s + slope_s * cut.rows)  # type: ignore[union-attr]  # every cut has one
    return queue
