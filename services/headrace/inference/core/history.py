"""What a model's batches were, and what became of its requests: the last ones, and the sums of all."""

from collections import deque
from dataclasses import dataclass

from headrace.inference.core.slots import NOTHING, Grant

KEPT = 64
"""Batches that are remembered one by one."""


@dataclass(slots=True)  # not frozen: each batch makes one, and that would triple its time
class PastBatch:
    """One executed batch; `cut_at` is monotonic seconds, `why` and `bound` are its cut's."""

    cut_at: float
    why: str
    bound: str
    rows: int
    requests: int
    tenants: int
    waited_s: float
    predicted_s: float
    took_s: float
    padding: float
    runs: int


@dataclass(slots=True)
class Counts:
    """Sums since the model was loaded.

    `cells` and `padded` are of what the model computed, where lengths differ. `slot_waits`
    are batches that waited for a slot, `slot_wait_s` how long, `slot_misses` those that
    then ran without one.
    """

    batches: int = 0
    executed: int = 0
    failed: int = 0
    refused_full: int = 0
    refused_infeasible: int = 0
    expired: int = 0
    left: int = 0
    mixed_up: int = 0
    cells: int = 0
    padded: int = 0
    slot_waits: int = 0
    slot_wait_s: float = 0.0
    slot_misses: int = 0

    def granted(self, grant: Grant, now: float) -> None:
        """Notes how a batch that is cut now came by its slot."""
        if grant.asked_at < now:
            self.slot_waits += 1
            self.slot_wait_s += now - grant.asked_at
            self.slot_misses += grant.slot == NOTHING

    @property
    def padding(self) -> float:
        """The share of padding, from 0 to 1."""
        return self.padded / self.cells if self.cells else 0.0


class History:
    """Bounded; used on the event loop only."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._last: deque[PastBatch] = deque(maxlen=KEPT)

    def add(self, batch: PastBatch, *, failed: int, cells: int, padded: int) -> None:
        """Notes an executed batch."""
        counts = self.counts
        counts.batches += 1
        counts.executed += batch.requests
        counts.failed += failed
        counts.cells += cells
        counts.padded += padded
        self._last.append(batch)

    def last(self, most: int) -> list[PastBatch]:
        """The last batches, newest first."""
        return list(self._last)[: -most - 1 : -1]
