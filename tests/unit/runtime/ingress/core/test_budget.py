"""Bytes out, bytes in: never more than there are, nobody forgotten, no deadlock."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.runtime.ingress.core.budget import ByteBudget

TOTAL = 100


class Budget(RuleBasedStateMachine):
    """Requests that take, wait, give and go, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.budget: ByteBudget[int] = ByteBudget(TOTAL)
        self.held: dict[int, int] = {}
        self.queue: list[tuple[int, int]] = []
        self.next = 0

    @rule(size=st.integers(0, TOTAL))
    def arrive(self, size: int) -> None:
        """Who can't have its bytes at once queues; nobody passes a queue."""
        waiting = bool(self.queue)
        if self.budget.take(size):
            assert not waiting
            self.held[self.next] = size
        else:
            self.budget.wait(self.next, size)
            self.queue.append((self.next, size))
        self.next += 1

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """What comes back goes to those who waited longest."""
        who = data.draw(st.sampled_from(sorted(self.held)))
        self.granted(self.budget.give(self.held.pop(who)))

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        """One who leaves the queue holds nobody up any more."""
        index = data.draw(st.integers(0, len(self.queue) - 1))
        self.granted(self.budget.forget(self.queue.pop(index)[0]))

    def granted(self, who: list[int]) -> None:
        """Grants come in the queue's order."""
        assert who == [name for name, _ in self.queue[: len(who)]]
        for _ in who:
            name, size = self.queue.pop(0)
            self.held[name] = size

    @invariant()
    def adds_up(self) -> None:
        """What is out is what is held, never above the total."""
        assert self.budget.taken == sum(self.held.values()) <= TOTAL
        assert self.budget.waiting == len(self.queue)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """The first in the queue waits only for bytes that really are out."""
        if self.queue:
            assert self.queue[0][1] > TOTAL - self.budget.taken


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=50, stateful_step_count=30)


def test_forgetting_one_who_does_not_wait_is_nothing() -> None:
    """A connection that never waited leaves no trace."""
    budget: ByteBudget[str] = ByteBudget(TOTAL)
    assert budget.forget("nobody") == []
    assert budget.taken == 0
