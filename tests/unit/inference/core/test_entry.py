"""Entry: what can't meet its deadline is refused at once, and only that."""

from math import inf

import pytest

from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from headrace.inference.core.queue import BatchQueue
from tests.support.queues import filled, item, taught

AT = 1000.0
FOUR = BatchPolicy(max_batch_size=4)


def busy(policy: BatchPolicy = FOUR) -> BatchQueue[Item]:
    """A model of 10 ms and 10 ms a row, whose one instance has just begun a batch of four."""
    queue = taught(filled(policy), 0.010, 0.010)
    for _ in range(4):
        assert queue.offer(item(AT)) is None
    assert queue.take(AT).cut is not None
    return queue


def admitted(queue: BatchQueue[Item], within: float, tenant: str = "", most: int = 1000) -> int:
    """How many requests with so much time are let in, one after the other."""
    for count in range(most):
        if queue.offer(item(AT, deadline=AT + within, tenant=tenant)) is not None:
            return count
    return most


def test_what_fits_waits_and_what_does_not_is_refused() -> None:
    """50 ms for what runs, 12.5 ms for each that waits, at most 50 ms for its own batch: of 200 ms eight at the most."""
    queue = busy()
    assert 5 <= admitted(queue, 0.200) <= 8
    assert admitted(queue, 0.400, most=5) == 5


def test_a_refusal_has_a_time_after_which_it_would_fit() -> None:
    """The same request with so much more time is let in."""
    queue = busy()
    admitted(queue, 0.200)
    refusal = queue.offer(item(AT, deadline=AT + 0.200))
    assert refusal is not None
    assert not refusal.full
    assert 0 < refusal.retry_after_s < 0.050
    assert queue.offer(item(AT, deadline=AT + 0.201 + refusal.retry_after_s)) is None


def test_without_a_deadline_nobody_is_refused() -> None:
    """It waits as long as it takes."""
    queue = busy()
    for _ in range(200):
        assert queue.offer(item(AT)) is None


def test_an_idle_model_is_never_infeasible() -> None:
    """With nothing to wait for, whoever comes is tried, however short its deadline: the curve stays true so."""
    queue = taught(filled(FOUR), 1.0, 1.0)
    assert queue.offer(item(AT, deadline=AT + 0.001)) is None


def test_an_unknown_model_refuses_nobody() -> None:
    """Before it has been measured."""
    queue = filled(FOUR, *(item(AT) for _ in range(100)))
    assert queue.offer(item(AT, deadline=AT + 0.001)) is None


def test_a_tenants_flood_makes_nobody_elses_deadline_infeasible() -> None:
    """What counts is what is served before it: another tenant's turn comes at once."""
    queue = busy()
    assert admitted(queue, 0.300, "flood") < 20
    assert queue.offer(item(AT, tenant="calm", deadline=AT + 0.300)) is None


def test_a_lower_levels_flood_does_not_count() -> None:
    """A higher level's does."""
    levels = (QueuePolicy(), QueuePolicy(), QueuePolicy())
    queue = busy(BatchPolicy(max_batch_size=4, levels=levels))
    for _ in range(200):
        assert queue.offer(item(AT, level=2)) is None
    assert queue.offer(item(AT, level=1, deadline=AT + 0.200)) is None
    assert queue.offer(item(AT, level=3, deadline=AT + 0.200)) is not None


def test_an_early_deadline_goes_before_its_tenants_later_ones() -> None:
    """What it would overtake is not before it."""
    queue = busy()
    for _ in range(100):
        assert queue.offer(item(AT, deadline=AT + 60.0)) is None
    assert queue.offer(item(AT, deadline=AT + 0.200)) is None


def test_a_queues_timeout_is_held_against_the_wait_alone() -> None:
    """REJECT: begun in time is in time. DELAY: it is put back, so it is never refused for it."""
    queue = busy()
    refused = [queue.offer(item(AT, start_by=AT + 0.100)) for _ in range(20)]
    assert 3 <= refused.count(None) <= 5
    queue = busy(BatchPolicy(max_batch_size=4, levels=(QueuePolicy(4096, 0.1, TimeoutAction.DELAY),)))
    for _ in range(20):
        assert queue.offer(item(AT, start_by=AT + 0.100, delays=True)) is None


def test_a_batch_is_no_larger_than_its_earliest_deadline_allows() -> None:
    """The most urgent request is not slowed down by company; what is left goes next."""
    queue = taught(filled(BatchPolicy(max_batch_size=8)), 0.010, 0.010)
    for number in range(8):
        assert queue.offer(item(AT, deadline=AT + (0.060 if not number else inf))) is None
    cut = queue.take(AT).cut
    assert cut is not None
    assert (cut.rows, cut.why, cut.bound) == (4, "idle", "slack")


def test_who_can_not_be_in_time_any_more_gives_way() -> None:
    """Its request is told so at once, and shortens nobody's batch; the last one that waits is tried all the same."""
    queue = taught(filled(BatchPolicy(max_batch_size=8)), 0.010, 0.010)
    hopeless = item(AT, deadline=AT + 0.015)
    for one in (hopeless, *(item(AT, deadline=AT + 9.0) for _ in range(7))):
        assert queue.offer(one) is None
    taken = queue.take(AT)
    assert taken.expired == [hopeless]
    assert taken.cut is not None
    assert taken.cut.rows == 7
    alone = filled(FOUR)
    taught(alone, 0.010, 0.010)
    assert alone.offer(last := item(AT, deadline=AT + 0.015)) is None
    cut = alone.take(AT).cut
    assert cut is not None
    assert cut.items == [last]


def test_nobody_is_executed_in_a_batch_that_ends_too_late() -> None:
    """Alone it would be in time; but alone it costs the others too much, and with them it is computed for nobody."""
    queue = taught(filled(BatchPolicy(max_batch_size=8)), 0.100, 0.010)
    late = item(AT, deadline=AT + 0.120)
    for one in (late, *(item(AT, deadline=AT + 9.0) for _ in range(16))):
        assert queue.offer(one) is None
    taken = queue.take(AT)
    assert taken.expired == [late]
    assert taken.cut is not None
    assert taken.cut.rows == 8


def test_what_would_be_refused_can_be_asked_before() -> None:
    """Only after a refusal, for a second; and who asks does not wait."""
    queue = busy()
    assert not queue.refusing(AT)
    admitted(queue, 0.200)
    assert queue.refusing(AT + 1.0)
    assert not queue.refusing(AT + 1.1)
    waiting = len(queue)
    assert queue.refuses(item(AT, deadline=AT + 0.200)) is not None
    assert queue.refuses(item(AT, deadline=AT + 9.0)) is None
    assert len(queue) == waiting


def test_who_is_on_the_way_counts_as_if_it_waited() -> None:
    """As many fit before a request, whether they wait already or are to come; none is in the way of an idle model."""
    queue = busy()
    fit = admitted(busy(), 0.200)
    queue.refuses(item(AT, deadline=AT + 0.200))
    for waiting in range(fit):
        assert queue.refuses(item(AT, deadline=AT + 0.200), fit - 1 - waiting) is None
        assert queue.refuses(item(AT, deadline=AT + 0.200), fit + 1 - waiting) is not None
        assert queue.offer(item(AT, deadline=AT + 0.200)) is None
    assert taught(filled(FOUR), 0.010, 0.010).refuses(item(AT, deadline=AT + 0.200), 1000) is None


def test_who_comes_is_served_by_turns_with_the_others() -> None:
    """Of two tenants each has half: what one has to come counts twice for it, while the other has as much waiting."""
    queue = busy()
    for _ in range(100):
        assert queue.offer(item(AT, tenant="other")) is None
    coming = next(count for count in range(100) if queue.refuses(item(AT, deadline=AT + 0.300), count))
    assert coming == pytest.approx(admitted(busy(), 0.300) / 2, abs=1)
