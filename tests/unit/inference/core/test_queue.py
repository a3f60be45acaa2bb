"""The batching core: what is cut, when, and from what. What goes before what has its own files."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.places import KEPT
from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from tests.support.queues import cuts, filled, item, taught

PATIENT = BatchPolicy(max_batch_size=4, max_delay_s=0.1, eager=False)


def test_an_eager_queue_gives_an_idle_instance_what_is_there() -> None:
    """An idle instance never waits for company."""
    first = item(0.0)
    cut = filled(BatchPolicy(), first).take(0.0).cut
    assert cut is not None
    assert (cut.items, cut.why, cut.bound) == ([first], "idle", "all")


def test_the_wait_opens_with_the_first_request_and_is_not_restarted() -> None:
    """Later arrivals do not move the end of the batch's delay."""
    queue = filled(PATIENT, item(0.0), item(0.05), item(0.099))
    assert queue.take(0.0999).cut is None
    assert queue.next_ripe() == 0.1
    cut = queue.take(0.1).cut
    assert cut is not None
    assert (cut.rows, cut.why) == (3, "delay")


def test_the_wait_of_a_request_that_left_is_over() -> None:
    """The next one's window begins with its own arrival."""
    queue = filled(PATIENT, first := item(0.0), item(0.05))
    assert queue.withdraw(first)
    assert queue.next_ripe() == 0.05 + 0.1


def test_a_full_batch_does_not_wait() -> None:
    """max_batch_size rows close the batch before its delay ends."""
    queue = filled(PATIENT, *(item(0.0) for _ in range(5)))
    cut = queue.take(0.0).cut
    assert cut is not None
    assert (cut.rows, cut.why, cut.bound) == (4, "full", "size")
    assert queue.take(0.0).cut is None


def test_the_wait_ends_while_the_earliest_deadline_can_still_hold() -> None:
    """The window is cut short by what the batch is measured to take: 20 ms for two rows."""
    queue = taught(filled(PATIENT), 0.010, 0.005)
    assert queue.offer(item(100.0)) is None
    assert queue.offer(item(100.0, deadline=100.050)) is None
    assert queue.take(100.020).cut is None
    ripe = queue.next_ripe()
    assert ripe is not None
    assert 100.020 < ripe < 100.030
    cut = queue.take(ripe).cut
    assert cut is not None
    assert (cut.rows, cut.why) == (2, "slack")


def test_of_several_shapes_only_the_ripe_one_is_cut() -> None:
    """A patient shape waits on while another's window ends."""
    queue = filled(PATIENT, late := item(0.05, bucket="b"), early := item(0.0))
    cut = queue.take(0.1).cut
    assert cut is not None
    assert cut.items == [early]
    assert queue.take(0.1).cut is None
    assert list(queue) == [late]


def test_a_batch_never_passes_its_maximum() -> None:
    """A request whose rows do not fit waits for the next batch; nobody overtakes it."""
    small, large, late = item(0.0, rows=3), item(0.01, rows=2), item(0.02, rows=1)
    queue = filled(BatchPolicy(max_batch_size=4), small, large, late)
    assert [(cut.items, cut.bound) for cut in cuts(queue, 1.0)] == [([small], "room"), ([large, late], "all")]


def test_a_preferred_size_is_taken_where_it_can_be_filled() -> None:
    """The largest that what waits can fill; all of it where none can be; never a wait for it."""
    policy = BatchPolicy(max_batch_size=8, preferred=(2, 4))
    queue = filled(policy, *(item(float(i)) for i in range(7)))
    assert [(cut.rows, cut.bound) for cut in cuts(queue, 9.0)] == [
        (4, "preferred"),
        (2, "preferred"),
        (1, "all"),
    ]


def test_a_preferred_size_only_breaks_ties() -> None:
    """Where its rows would cost more than those of what waits, all that waits is taken."""
    policy = BatchPolicy(max_batch_size=8, preferred=(2,))
    queue = taught(filled(policy), 0.100, 0.001)
    for number in range(7):
        assert queue.offer(item(100.0 + number)) is None
    assert [cut.rows for cut in cuts(queue, 200.0)] == [7]


def test_requests_of_different_shapes_never_share_a_batch() -> None:
    """What came first goes first, with its like."""
    a, b, c = item(0.0, bucket="a"), item(0.1, bucket="b"), item(0.2, bucket="a")
    queue = filled(BatchPolicy(), a, b, c)
    assert [cut.items for cut in cuts(queue, 1.0)] == [[a, c], [b]]


def test_a_batch_is_filled_with_its_leaders_shape_only() -> None:
    """Also where another shape came first and still waits."""
    first, second = item(0.0, deadline=9.0), item(0.0, deadline=9.0)
    lead, mate = item(0.1, bucket="b", deadline=5.0), item(0.1, bucket="b", deadline=6.0)
    queue = filled(BatchPolicy(), first, second, lead, mate)
    assert [cut.items for cut in cuts(queue, 1.0)] == [[lead, mate], [first, second]]


def test_the_queue_bound_is_exact() -> None:
    """max_queue requests wait; one more is refused; a withdrawn one makes room."""
    queue = filled(BatchPolicy(max_queue=2), item(0.0), last := item(0.0))
    refusal = queue.offer(item(0.0))
    assert refusal is not None
    assert refusal.full
    assert queue.withdraw(last)
    assert not queue.withdraw(last)
    assert queue.offer(item(0.0)) is None


def test_an_expired_request_is_told_of_and_not_executed() -> None:
    """A deadline that has passed at the cut keeps its request out of the batch, wherever it stands."""
    late, live, later = item(0.0, deadline=1.0), item(0.1), item(0.2, deadline=0.9)
    taken = filled(BatchPolicy(), late, live, later).take(1.0)
    assert set(taken.expired) == {late, later}
    assert taken.cut is not None
    assert taken.cut.items == [live]


def test_a_queues_timeout_ends_the_wait_before_the_deadline() -> None:
    """start_by is when it is too late to begin."""
    late = item(0.0, deadline=5.0, start_by=1.0)
    queue = filled(BatchPolicy(), late)
    assert queue.next_due() == 1.0
    assert queue.take(1.0).expired == [late]


def test_expire_removes_exactly_what_is_late() -> None:
    """The next deadline is the earliest of those that still wait."""
    late, live, free = item(0.0, deadline=1.0), item(0.0, deadline=2.0), item(0.0)
    queue = filled(BatchPolicy(), late, live, free)
    assert queue.expire(1.0) == [late]
    assert queue.next_due() == 2.0
    assert set(queue) == {live, free}
    assert queue.withdraw(live)
    assert queue.next_due() is None


DELAY = BatchPolicy(
    max_batch_size=1,
    levels=(QueuePolicy(3, 1.0, TimeoutAction.DELAY), QueuePolicy(3)),
    aging_s=1000.0,
)


def test_a_delayed_request_goes_behind_its_level_and_before_the_next() -> None:
    """TIMEOUT DELAY: nothing is refused, what timed out waits for all of its level that has not."""
    first = item(0.0, start_by=1.0, delays=True)
    fresh, below = item(0.9, start_by=9.0, delays=True), item(0.5, level=2)
    queue = filled(DELAY, first, fresh, below)
    assert [cut.items for cut in cuts(queue, 2.0)] == [[fresh], [first], [below]]


def test_a_delayed_request_keeps_its_number() -> None:
    """Its answer is known by it: it is the same request before and after."""
    first = item(0.0, start_by=1.0, delays=True)
    queue = filled(DELAY, first, item(0.5))
    before = first.number
    assert queue.expire(1.0) == []
    assert first.number == before


def test_a_delayed_request_does_not_age() -> None:
    """However long it has waited, whoever of its level has not timed out goes first."""
    policy = BatchPolicy(max_batch_size=1, levels=DELAY.levels, aging_s=0.1)
    first = item(0.0, start_by=1.0, delays=True)
    queue = filled(policy, first)
    assert queue.expire(1.0) == []
    assert queue.offer(fresh := item(50.0)) is None
    assert [cut.items for cut in cuts(queue, 50.0)] == [[fresh], [first]]


def test_a_delayed_request_still_counts_and_still_has_its_deadline() -> None:
    """It holds its place in max_queue, and is too late when its caller's deadline passes."""
    first = item(0.0, start_by=1.0, deadline=3.0, delays=True)
    queue = filled(DELAY, first, item(0.0), item(0.0))
    assert queue.expire(1.0) == []
    refusal = queue.offer(item(1.0))
    assert refusal is not None
    assert refusal.full
    assert queue.next_due() == 3.0
    assert queue.expire(3.0) == [first]
    assert queue.offer(item(3.0)) is None


def test_a_request_that_is_delayed_while_a_batch_is_filled_costs_nobody_his_place() -> None:
    """Where it waits on is a new place, for which others may be forgotten: also those that the batch was yet to look at."""
    levels = (QueuePolicy(8, 1.0, TimeoutAction.DELAY), QueuePolicy(8))
    policy = BatchPolicy(max_batch_size=8, levels=levels)
    leader, mate = item(0.0, length=2), item(0.0, length=2, length_class=7)
    late = item(0.0, start_by=1.0, delays=True, length=2, length_class=3, tenant="late")
    gone = item(0.0, length=2, length_class=5)
    queue = filled(policy, leader, late, gone, mate)
    for number in range(KEPT - 4):  # with theirs as many places as are kept
        passing = item(0.0, level=2, tenant=f"passing-{number}")
        assert queue.offer(passing) is None
        assert queue.withdraw(passing)
    assert queue.withdraw(gone)
    assert [cut.items for cut in cuts(queue, 2.0)] == [[leader, mate, late]]


@given(
    st.lists(st.tuples(st.integers(1, 8), st.sampled_from("abc")), max_size=60),
    st.integers(8, 16),
)
def test_everything_offered_is_cut_once_in_order(work: list[tuple[int, str]], size: int) -> None:
    """No request is lost, doubled or overtaken inside its bucket."""
    items = [item(float(i), rows=rows, bucket=bucket) for i, (rows, bucket) in enumerate(work)]
    queue = filled(BatchPolicy(max_batch_size=size), *items)
    cut = [one for batch in cuts(queue, 1e9) for one in batch.items]
    assert sorted(cut, key=items.index) == items
    for bucket in "abc":
        assert [i for i in cut if i.bucket == bucket] == [i for i in items if i.bucket == bucket]
