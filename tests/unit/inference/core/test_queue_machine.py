"""Any order of arrivals, cancels, deadlines, cuts and completions, held against a plain model of the rules."""

from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.inference.core.cutting import Cut
from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from headrace.inference.core.queue import BatchQueue
from tests.support.queues import item

INSTANCES = 2


class QueueMachine(RuleBasedStateMachine):
    """`waiting` is the model: who waits. What may be in a cut follows from it."""

    @initialize(
        eager=st.booleans(),
        size=st.integers(1, 6),
        bounds=st.lists(st.integers(1, 12), min_size=1, max_size=3),
        delay=st.booleans(),
        preferred=st.booleans(),
    )
    def start(self, *, eager: bool, size: int, bounds: list[int], delay: bool, preferred: bool) -> None:
        action = TimeoutAction.DELAY if delay else TimeoutAction.REJECT
        self.policy = BatchPolicy(
            max_batch_size=size,
            max_delay_s=1.0,
            eager=eager,
            preferred=(max(1, size // 2),) if preferred else (),
            levels=tuple(QueuePolicy(bound, action=action) for bound in bounds),
            aging_s=2.0,
        )
        self.delay = delay
        self.queue: BatchQueue[Item] = BatchQueue(self.policy, INSTANCES, {"b": 3.0})
        self.waiting: dict[Item, None] = {}
        self.running: list[Cut[Item]] = []
        self.now = 0.0

    @rule(
        rows=st.integers(1, 6),
        bucket=st.sampled_from("xy"),
        tenant=st.sampled_from("abc"),
        level=st.integers(1, 3),
        length=st.integers(1, 4),
        within=st.none() | st.floats(0.1, 3),
        timeout=st.none() | st.floats(0.1, 3),
    )
    def offer(
        self,
        rows: int,
        bucket: str,
        tenant: str,
        level: int,
        length: int,
        within: float | None,
        timeout: float | None,
    ) -> None:
        level = min(level, len(self.policy.levels))
        one = item(
            self.now,
            rows=min(rows, self.policy.max_batch_size),
            bucket=bucket,
            tenant=tenant,
            level=level,
            length=length,
            length_class=length.bit_length(),
            deadline=None if within is None else self.now + within,
            start_by=inf if timeout is None else self.now + timeout,
            delays=self.delay and timeout is not None,
        )
        full = sum(other.level == level for other in self.waiting) >= self.policy.levels[level - 1].max_queue
        refusal = self.queue.offer(one)
        if refusal is None:
            assert not full
            self.waiting[one] = None
        elif refusal.full:
            assert full
        else:  # too late: never where nobody waits and an instance idles
            assert self.waiting or len(self.running) >= INSTANCES
            assert within is not None or timeout is not None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(list(self.waiting)))
        assert self.queue.withdraw(gone)
        assert not self.queue.withdraw(gone)
        del self.waiting[gone]

    @rule(passed=st.floats(0.0, 1.5))
    def advance(self, passed: float) -> None:
        self.now += passed

    @rule()
    def expire(self) -> None:
        late = self.queue.expire(self.now)
        assert set(late) == {one for one in self.waiting if self.too_late(one)}
        self.drop(late)

    @precondition(lambda self: len(self.running) < INSTANCES)
    @rule()
    def take(self) -> None:
        taken = self.queue.take(self.now)
        assert all(self.too_late(one) or self.lost(one) for one in taken.expired)
        self.drop(taken.expired)
        cut = taken.cut
        assert cut is not None or not taken.expired or not self.policy.eager or not self.waiting
        if cut is None:
            live = [one for one in self.waiting if not self.too_late(one)]
            ripe = [one for one in live if one.arrived + self.policy.max_delay_s <= self.now]
            assert not (live if self.policy.eager else ripe)
            return
        self.judge(cut)
        self.drop(cut.items)
        self.running.append(cut)

    def judge(self, cut: Cut[Item]) -> None:
        """What every batch must be."""
        assert cut.items
        assert len(set(cut.items)) == len(cut.items)
        assert set(cut.items) <= set(self.waiting)
        assert not any(self.too_late(one) for one in cut.items)
        assert cut.rows == sum(one.rows for one in cut.items) <= self.policy.max_batch_size
        assert len({one.bucket for one in cut.items}) == 1
        assert cut.cells == cut.rows * max(one.length for one in cut.items)
        assert cut.padded == cut.cells - sum(one.rows * one.length for one in cut.items)
        assert cut.padded <= self.policy.padding * cut.cells
        self.judge_leader(cut.items[0])

    def judge_leader(self, leader: Item) -> None:
        """Nobody of a higher level waits who did not come an aging later; inside a tenant nobody who is due first."""
        live = [one for one in self.waiting if not self.too_late(one)]
        if self.policy.eager and not self.delay:
            for other in live:
                lead = (leader.level - other.level) * self.policy.aging_s
                assert other.level >= leader.level or other.arrived >= leader.arrived + lead
        if self.policy.eager and not self.delay and len(self.policy.levels) == 1:
            assert all(leader.due <= other.due for other in live if other.tenant == leader.tenant)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seconds=st.floats(0.001, 0.5), failed=st.booleans())
    def complete(self, data: st.DataObject, seconds: float, *, failed: bool) -> None:
        cut = data.draw(st.sampled_from(self.running))
        self.running.remove(cut)
        self.queue.completed(cut, None if failed else seconds)

    def too_late(self, one: Item) -> bool:
        """By its caller's deadline, or by its queue's timeout where that does not delay it."""
        if one.deadline is not None and one.deadline <= self.now:
            return True
        return not self.delay and one.start_by <= self.now

    def lost(self, one: Item) -> bool:
        """Who can't be in time any more gives way to others, and to others only."""
        return one.deadline is not None and len(self.waiting) > 1

    def drop(self, items: list[Item]) -> None:
        for one in items:
            del self.waiting[one]

    @invariant()
    def same(self) -> None:
        if hasattr(self, "queue"):
            assert sorted(map(id, self.queue)) == sorted(map(id, self.waiting))
            assert len(self.queue) == len(self.waiting)
            due = self.queue.next_due()
            assert (due is None) == all(one.due == inf for one in self.waiting)


QueueMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
