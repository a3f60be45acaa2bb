"""The batching core: what is cut, when, and from what."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from headrace.inference.core.queue import BatchPolicy, BatchQueue, Item


def item(arrived: float, *, rows: int = 1, bucket: str = "a", deadline: float | None = None) -> Item:
    return Item(rows, bucket, arrived, deadline)


def filled(policy: BatchPolicy, *items: Item) -> BatchQueue[Item]:
    queue: BatchQueue[Item] = BatchQueue(policy)
    for one in items:
        assert queue.offer(one)
    return queue


PATIENT = BatchPolicy(max_batch_size=4, max_delay_s=0.1, eager=False)


def test_an_eager_queue_gives_an_idle_instance_what_is_there() -> None:
    """An idle instance never waits for company."""
    first = item(0.0)
    taken = filled(BatchPolicy(), first).take(0.0)
    assert taken.cut is not None
    assert taken.cut.items == [first]


def test_the_wait_opens_with_the_first_request_and_is_not_restarted() -> None:
    """Later arrivals do not move the end of the batch's delay."""
    queue = filled(PATIENT, item(0.0), item(0.05), item(0.099))
    assert queue.take(0.0999).cut is None
    assert queue.next_ripe() == 0.1
    cut = queue.take(0.1).cut
    assert cut is not None
    assert (cut.rows, cut.why) == (3, "delay")


def test_a_full_batch_does_not_wait() -> None:
    """max_batch_size rows close the batch before its delay ends."""
    queue = filled(PATIENT, *(item(0.0) for _ in range(5)))
    cut = queue.take(0.0).cut
    assert cut is not None
    assert (cut.rows, cut.why) == (4, "full")
    assert queue.take(0.0).cut is None


def test_a_batch_never_passes_its_maximum() -> None:
    """A request whose rows do not fit waits for the next batch; nobody overtakes it."""
    small, large, late = item(0.0, rows=3), item(0.01, rows=2), item(0.02, rows=1)
    queue = filled(BatchPolicy(max_batch_size=4), small, large, late)
    assert [queue.take(1.0).cut.items for _ in range(2)] == [[small], [large, late]]  # type: ignore[union-attr]


def test_a_preferred_size_is_taken_where_it_can_be_filled() -> None:
    """The largest that what waits can fill; all of it where none can be; never a wait for it."""
    policy = BatchPolicy(max_batch_size=8, preferred=(2, 4))
    queue = filled(policy, *(item(float(i)) for i in range(7)))
    assert [cut.rows for cut in iter(lambda: queue.take(9.0).cut, None)] == [4, 2, 1]


def test_requests_of_different_shapes_never_share_a_batch() -> None:
    """The bucket that has waited longest goes first."""
    a, b, c = item(0.0, bucket="a"), item(0.1, bucket="b"), item(0.2, bucket="a")
    queue = filled(BatchPolicy(), b, a, c)
    assert [queue.take(1.0).cut.items for _ in range(2)] == [[a, c], [b]]  # type: ignore[union-attr]


def test_the_queue_bound_is_exact() -> None:
    """max_queue requests wait; one more is refused; a withdrawn one makes room."""
    queue = filled(BatchPolicy(max_queue=2), item(0.0), last := item(0.0))
    assert not queue.offer(item(0.0))
    assert queue.withdraw(last)
    assert not queue.withdraw(last)
    assert queue.offer(item(0.0))


def test_an_expired_request_is_told_of_and_not_executed() -> None:
    """A deadline that has passed at the cut keeps its request out of the batch."""
    late, live = item(0.0, deadline=1.0), item(0.1)
    taken = filled(BatchPolicy(), late, live).take(1.0)
    assert taken.expired == [late]
    assert taken.cut is not None
    assert taken.cut.items == [live]


def test_an_expired_request_behind_a_live_one_is_not_executed_either() -> None:
    """Deadlines need not be in the order of arrival."""
    live, late, last = item(0.0), item(0.1, deadline=1.0), item(0.2)
    taken = filled(BatchPolicy(), live, late, last).take(1.0)
    assert taken.expired == [late]
    assert taken.cut is not None
    assert taken.cut.items == [live, last]


def test_expire_removes_exactly_what_is_late() -> None:
    """The next deadline is the earliest of those that still wait."""
    late, live, free = item(0.0, deadline=1.0), item(0.0, deadline=2.0), item(0.0)
    queue = filled(BatchPolicy(), late, live, free)
    assert queue.expire(1.0) == [late]
    assert queue.next_deadline() == 2.0
    assert list(queue) == [live, free]


@given(
    st.lists(st.tuples(st.integers(1, 8), st.sampled_from("abc")), max_size=60),
    st.integers(8, 16),
)
def test_everything_offered_is_cut_once_in_order(work: list[tuple[int, str]], size: int) -> None:
    """No request is lost, doubled or overtaken inside its bucket."""
    items = [item(float(i), rows=rows, bucket=bucket) for i, (rows, bucket) in enumerate(work)]
    queue = filled(BatchPolicy(max_batch_size=size), *items)
    cut = [one for batch in drained(queue) for one in batch]
    assert sorted(cut, key=items.index) == items
    for bucket in "abc":
        assert [i for i in cut if i.bucket == bucket] == [i for i in items if i.bucket == bucket]


def drained(queue: BatchQueue[Item]) -> Iterator[list[Item]]:
    while (cut := queue.take(1e9).cut) is not None:
        yield cut.items


class QueueMachine(RuleBasedStateMachine):
    """Any order of arrivals, cancels, deadlines and cuts."""

    @initialize(eager=st.booleans(), size=st.integers(1, 6), bound=st.integers(1, 20))
    def start(self, *, eager: bool, size: int, bound: int) -> None:
        self.policy = BatchPolicy(max_batch_size=size, max_delay_s=1.0, eager=eager, max_queue=bound)
        self.queue: BatchQueue[Item] = BatchQueue(self.policy)
        self.waiting: list[Item] = []
        self.now = 0.0

    @rule(rows=st.integers(1, 6), bucket=st.sampled_from("ab"), within=st.none() | st.floats(0.1, 3))
    def offer(self, rows: int, bucket: str, within: float | None) -> None:
        deadline = None if within is None else self.now + within
        one = Item(min(rows, self.policy.max_batch_size), bucket, self.now, deadline)
        assert self.queue.offer(one) == (len(self.waiting) < self.policy.max_queue)
        if one in list(self.queue):
            self.waiting.append(one)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.withdraw(gone)
        self.waiting.remove(gone)

    @rule(passed=st.floats(0.0, 1.5))
    def advance(self, passed: float) -> None:
        self.now += passed

    @rule()
    def take(self) -> None:
        taken = self.queue.take(self.now)
        late = [one for one in self.waiting if one.deadline is not None and one.deadline <= self.now]
        assert set(taken.expired) <= set(late)
        cut = taken.cut.items if taken.cut else []
        assert not set(cut) & set(late)
        assert sum(one.rows for one in cut) <= self.policy.max_batch_size
        assert len({one.bucket for one in cut}) <= 1
        self.waiting = [one for one in self.waiting if one not in cut and one not in taken.expired]
        if not cut:
            live = [one for one in self.waiting if one.deadline is None or one.deadline > self.now]
            ripe = [one for one in live if one.arrived + self.policy.max_delay_s <= self.now]
            assert not (live if self.policy.eager else ripe)

    @invariant()
    def same(self) -> None:
        if hasattr(self, "queue"):
            assert set(self.queue) == set(self.waiting)
            assert len(self.queue) == len(self.waiting)


QueueMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase
