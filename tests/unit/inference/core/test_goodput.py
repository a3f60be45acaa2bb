"""Row 17 in the core, on a clock of its own: three times what a model can do, and the answers that are in time."""

from random import Random

import pytest

from headrace.inference.core.cutting import Cut
from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.queue import BatchQueue
from tests.support.queues import item

ROWS = 8
SECONDS = 30.0


class Model:
    """One instance; a batch takes base_s + slope_s x rows, give or take 20 %, and `pause_s` until the next begins."""

    def __init__(
        self, base_s: float, slope_s: float, deadline_s: float, seed: int = 3, pause_s: float = 0.0
    ) -> None:
        self.random = Random(seed)  # a test's, not a secret
        self.base_s, self.slope_s, self.deadline_s, self.pause_s = base_s, slope_s, deadline_s, pause_s
        self.queue: BatchQueue[Item] = BatchQueue(BatchPolicy(max_batch_size=ROWS))
        self.running: tuple[float, float, Cut[Item]] | None = None
        self.in_time = self.computed = self.refused = 0

    def offered(self, rate: float) -> float:
        """Answers a second that were in time, of `rate` requests a second."""
        now = 0.0
        while now < SECONDS:
            now += self.random.expovariate(rate)
            self.until(now)
            refusal = self.queue.offer(item(now, deadline=now + self.deadline_s))
            self.refused += refusal is not None
            self.begin(now)
        return self.in_time / SECONDS

    def until(self, now: float) -> None:
        while self.running is not None and self.running[0] <= now:
            free, took, cut = self.running
            ends, self.running = free - self.pause_s, None
            self.computed += cut.rows
            self.in_time += sum(one.deadline is not None and ends <= one.deadline for one in cut.items)
            self.queue.completed(cut, took)
            self.begin(free)

    def begin(self, now: float) -> None:
        self.queue.expire(now)
        if self.running is not None or not len(self.queue):
            return
        cut = self.queue.take(now).cut
        if cut is not None:
            took = (self.base_s + self.slope_s * cut.rows) * self.random.uniform(0.8, 1.2)
            self.running = now + took + self.pause_s, took, cut


@pytest.mark.parametrize(("base_s", "slope_s"), [(0.100, 0.0), (0.020, 0.010), (0.002, 0.012)])
@pytest.mark.parametrize("deadline_s", [0.4, 1.5])
def test_goodput_holds_at_three_times_capacity(base_s: float, slope_s: float, deadline_s: float) -> None:
    """At least 80 % of what the model could answer at the most, and little is computed in vain."""
    peak = ROWS / (base_s + slope_s * ROWS)
    model = Model(base_s, slope_s, deadline_s)
    goodput = model.offered(3 * peak)
    assert goodput >= 0.8 * peak
    assert model.in_time >= 0.9 * model.computed
    assert model.refused > 0


def test_what_lies_between_batches_is_learned() -> None:
    """As much as the batches take, and in no curve: what is executed is in time all the same."""
    model = Model(0.020, 0.010, 1.5, pause_s=0.1)
    capacity = ROWS / 0.2
    assert model.offered(3 * capacity) >= 0.8 * capacity
    assert model.in_time >= 0.9 * model.computed
