"""Row 12: a hundred thousand requests of every kind through the core and the execution, on a clock of their own.

Random sizes, tenants, priorities, shapes, cancels, deadlines and poisons; time passes as the
events say, so that a run is the same every time. What each caller got is held against its input.
"""

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from random import Random

import numpy as np
import pytest
from structlog.testing import capture_logs

from headrace.inference.core.cutting import Cut
from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from headrace.inference.core.queue import BatchQueue
from headrace.inference.execution import Answer, Work, execute
from tests.fakes.inference import Doubling
from tests.support.queues import item

INSTANCES = 3
POISON = -7.0
POLICY = BatchPolicy(
    max_batch_size=8,
    max_delay_s=0.004,
    preferred=(4,),
    levels=(QueuePolicy(6), QueuePolicy(30, 0.05), QueuePolicy(60, 0.02, TimeoutAction.DELAY)),
    aging_s=0.05,
)


class Mesh:
    """Callers, a queue, instances; `ended` says how each request ended, by its number."""

    def __init__(self, seed: int, *, eager: bool) -> None:
        self.random = Random(seed)  # a test's, not a secret
        self.queue: BatchQueue[Item] = BatchQueue(replace(POLICY, eager=eager), INSTANCES, {"a": 4.0})
        self.backend = Doubling(max_batch_size=8)
        self.backend.poison = POISON
        self.now = 0.0
        self.events: list[tuple[float, int, object]] = []
        self.works: dict[Item, tuple[int, Work]] = {}
        self.left: set[int] = set()
        self.ended: dict[int, str] = {}
        self.executed_rows: Counter[float] = Counter()
        self.idle = INSTANCES
        self._order = 0

    def at(self, when: float, event: object) -> None:
        self._order += 1
        heappush(self.events, (when, self._order, event))

    def end(self, number: int, how: str) -> None:
        assert number not in self.ended, f"{number} was answered twice"
        self.ended[number] = how

    def run(self, requests: int) -> None:
        """All of them, until nothing waits."""
        for number in range(requests):
            self.arrive(number)
            # Bursts and pauses: now overloaded, now idle.
            self.advance(self.now + self.random.expovariate(4000 if number // 2000 % 2 else 900))
        self.advance(self.now + 1e6)

    def arrive(self, number: int) -> None:
        random = self.random
        rows = random.choice((1, 1, 1, 2, 5, 8))
        poisoned = random.random() < 0.01
        value = POISON if poisoned else float(number)
        raw = np.full((rows, 2), value, np.float32).tobytes()
        level = random.choice((1, 2, 2, 3))
        timeout = self.queue.policy.levels[level - 1].timeout_s
        one = item(
            self.now,
            rows=rows,
            bucket=random.choice("xyz"),
            tenant=random.choice("aaaabcdef"),
            level=level,
            deadline=None if random.random() < 0.3 else self.now + random.choice((0.003, 0.02, 0.3)),
            start_by=self.now + timeout if timeout else float("inf"),
            delays=level == 3,
        )
        refusal = self.queue.offer(one)
        if refusal is not None:
            self.end(number, "full" if refusal.full else "infeasible")
            return
        work = Work(rows, [(rows, 2)], [raw], tag=one.number)
        self.works[one] = number, work
        if random.random() < 0.1:
            self.at(self.now + random.expovariate(100), one)
        self.pump()

    def advance(self, until: float) -> None:
        while True:
            due = self.queue.next_due()
            ripe = self.queue.next_ripe() if self.idle and not self.queue.policy.eager else None
            soonest = min(
                t for t in (self.events[0][0] if self.events else until, due, ripe, until) if t is not None
            )
            if soonest >= until:
                break
            self.now = max(self.now, soonest)
            if self.events and self.events[0][0] <= self.now:
                self.happen(heappop(self.events)[2])
            for late in self.queue.expire(self.now):
                self.end(self.works.pop(late)[0], "late")
            self.pump()
        self.now = until if until < 1e6 else self.now

    def happen(self, event: object) -> None:
        if isinstance(event, Cut):
            self.complete(event)
        elif isinstance(event, Item) and event in self.works:
            number, _ = self.works[event]
            self.left.add(number)
            if self.queue.withdraw(event):
                self.end(self.works.pop(event)[0], "cancelled")

    def pump(self) -> None:
        while self.idle and len(self.queue):
            taken = self.queue.take(self.now)
            for late in taken.expired:
                self.end(self.works.pop(late)[0], "late")
            if taken.cut is None:
                return
            self.idle -= 1
            for one in taken.cut.items:
                number, _ = self.works[one]
                assert number not in self.left, "executed after its caller left"
                assert one.deadline is None or one.deadline > self.now, "executed when it was too late"
            self.at(self.now + 0.001 + 0.0004 * taken.cut.rows, taken.cut)

    def complete(self, cut: Cut[Item]) -> None:
        self.idle += 1
        tickets = [self.works[one] for one in cut.items]
        done = execute(self.backend, [work for _, work in tickets])
        self.queue.completed(cut, 0.001 + 0.0004 * cut.rows if done.runs == 1 else None)
        for one, (number, work), answer in zip(cut.items, tickets, done.answers, strict=True):
            del self.works[one]
            assert answer is None or answer.tag == one.number, "not the number that it was given"
            self.end(number, self.judged(number, work, answer))
        self.pump()

    def judged(self, number: int, work: Work, answer: Answer | None) -> str:
        poisoned = bytes(work.values[0]) == np.full((work.rows, 2), POISON, np.float32).tobytes()  # type: ignore[arg-type]  # bytes
        assert (answer is None) == poisoned, "a failure that is another's"
        if answer is None:
            return "failed"
        expected = np.full((work.rows, 2), 2.0 * number, np.float32).tobytes()
        assert bytes(answer.values[0]) == expected, "an answer that is another's"
        return "left" if number in self.left else "answered"


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("requests", [4_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_every_request_ends_once_and_as_it_should(requests: int, *, eager: bool) -> None:
    """No mix-up, none lost, none answered twice, none executed after its caller left or its deadline passed."""
    mesh = Mesh(20, eager=eager)
    with capture_logs():
        mesh.run(requests)
    assert len(mesh.ended) == requests
    assert len(mesh.queue) == 0
    assert not mesh.works
    how = Counter(mesh.ended.values())
    assert set(how) == {"answered", "failed", "full", "infeasible", "late", "cancelled", "left"}, how
