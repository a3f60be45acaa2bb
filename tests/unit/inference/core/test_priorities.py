"""Priority levels: strict, but for who has waited too long."""

from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy, QueuePolicy
from headrace.inference.core.queue import BatchQueue
from tests.support.queues import cuts, filled, item

LEVELS = (QueuePolicy(2), QueuePolicy(3), QueuePolicy(4))
ONE = BatchPolicy(max_batch_size=1, levels=LEVELS, aging_s=2.0)


def test_the_higher_level_goes_first() -> None:
    """Whenever its requests came, and whatever the tenants have had."""
    low = [item(0.0, level=3) for _ in range(4)]
    middle, high = item(0.5, level=2), item(1.0, level=1, tenant="b")
    queue = filled(ONE, *low, middle, high)
    assert [cut.items[0].level for cut in cuts(queue, 1.0)] == [1, 2, 3, 3, 3, 3]


def test_each_level_has_its_own_bound() -> None:
    """max_queue_size counts the requests of one level, exactly."""
    queue: BatchQueue[Item] = BatchQueue(ONE)
    for level, policy in enumerate(LEVELS, 1):
        for _ in range(policy.max_queue):
            assert queue.offer(item(0.0, level=level)) is None
        refusal = queue.offer(item(0.0, level=level))
        assert refusal is not None
        assert refusal.full
    assert len(queue) == sum(policy.max_queue for policy in LEVELS)


def test_a_batch_takes_lower_levels_where_higher_ones_leave_room() -> None:
    """Rows that would stay empty are nobody's."""
    policy = BatchPolicy(max_batch_size=4, levels=LEVELS)
    low = [item(0.0, level=3) for _ in range(4)]
    queue = filled(policy, *low, item(0.1, level=1), item(0.1, level=2))
    cut = queue.take(1.0).cut
    assert cut is not None
    assert [one.level for one in cut.items] == [1, 2, 3, 3]


def test_nobody_starves() -> None:
    """A request of the third level goes before those of the first that came more than two agings after it."""
    starving = item(0.0, level=3)
    queue = filled(ONE, starving)
    now = 0.0
    for _ in range(100):
        now += 0.1
        assert queue.offer(item(now, level=1)) is None
        cut = queue.take(now).cut
        assert cut is not None
        if cut.items == [starving]:
            break
    assert 4.0 <= now <= 4.2


def test_who_has_aged_leads_although_its_tenant_had_more() -> None:
    """The bound is for each request, not for its level."""
    queue: BatchQueue[Item] = BatchQueue(ONE)
    starving = item(0.0, level=2, tenant="greedy", deadline=900.0)
    assert queue.offer(starving) is None
    assert queue.offer(item(1.9, level=2, tenant="other", deadline=5.0)) is None
    assert queue.offer(item(3.0, level=1)) is None
    cut = queue.take(3.0).cut
    assert cut is not None
    assert cut.items == [starving]
