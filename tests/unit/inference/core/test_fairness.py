"""Between tenants of a level: what each has had for its weight. Inside a tenant: what is due first."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.inference.core.lanes import Item
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.queue import BatchQueue
from tests.support.queues import cuts, filled, item

ONE = BatchPolicy(max_batch_size=1)


def served(queue: BatchQueue[Item], batches: int, *, seconds: float | None = None) -> Counter[str]:
    """Rows of each tenant in the next batches."""
    found: Counter[str] = Counter()
    for cut in cuts(queue, 1.0, seconds):
        for one in cut.items:
            found[one.tenant] += one.rows
        batches -= 1
        if not batches:
            break
    return found


def flood(tenant: str, requests: int, rows: int = 1, bucket: str = "a") -> list[Item]:
    return [item(0.0, tenant=tenant, rows=rows, bucket=bucket) for _ in range(requests)]


def test_a_flood_of_one_tenant_does_not_hold_another_up() -> None:
    """Its single request is in the next batch, whoever waited before."""
    queue = filled(BatchPolicy(max_batch_size=4), *flood("a", 1000))
    late = item(0.5, tenant="b")
    assert queue.offer(late) is None
    cut = queue.take(1.0).cut
    assert cut is not None
    assert late in cut.items


def test_two_tenants_share_by_turns() -> None:
    """In a batch too."""
    queue = filled(BatchPolicy(max_batch_size=8), *flood("a", 100), *flood("b", 100))
    assert served(queue, 1) == {"a": 4, "b": 4}


def test_a_tenants_weight_is_its_share() -> None:
    """3 to 1."""
    queue = filled(ONE, *flood("a", 200), *flood("b", 200), weights={"a": 3.0})
    assert served(queue, 100) == {"a": 75, "b": 25}


def test_large_requests_are_charged_by_what_they_cost() -> None:
    """Who sends four rows at once gets a quarter as many turns."""
    policy = BatchPolicy(max_batch_size=4)
    queue = filled(policy, *flood("a", 100, rows=4, bucket="x"), *flood("b", 400, bucket="y"))
    shares = served(queue, 40)
    assert abs(shares["a"] - shares["b"]) <= 8


def test_what_was_measured_corrects_what_was_predicted() -> None:
    """A tenant whose requests take four times as long as others' gets a quarter of their turns."""
    queue = filled(ONE, *flood("slow", 400, bucket="x"), *flood("quick", 400, bucket="y"))
    turns: Counter[str] = Counter()
    for _ in range(200):
        cut = queue.take(1.0).cut
        assert cut is not None
        tenant = cut.items[0].tenant
        turns[tenant] += 1
        queue.completed(cut, 0.008 if tenant == "slow" else 0.002)
    assert 3.0 < turns["quick"] / turns["slow"] < 5.0


def test_idleness_earns_no_credit() -> None:
    """Who comes back does not get the time that it did not ask for."""
    queue = filled(ONE, *flood("a", 200), *flood("b", 1))
    assert served(queue, 100)["b"] == 1
    for one in flood("b", 100):
        assert queue.offer(one) is None
    assert abs(served(queue, 20)["a"] - 10) <= 1


def test_inside_a_tenant_the_earliest_deadline_goes_first() -> None:
    """Whatever the order of arrival; of equal deadlines the first comer."""
    late, early, twin = item(0.0, deadline=9.0), item(0.1, deadline=5.0), item(0.2, deadline=5.0)
    queue = filled(ONE, late, early, twin)
    assert [cut.items for cut in cuts(queue, 1.0)] == [[early], [twin], [late]]


def test_an_early_deadline_buys_nothing_from_another_tenant() -> None:
    """Deadlines order a tenant's own requests only."""
    mine = [item(0.0, tenant="a", deadline=100.0) for _ in range(10)]
    pushy = [item(0.0, tenant="b", deadline=2.0) for _ in range(10)]
    queue = filled(BatchPolicy(max_batch_size=10), *mine, *pushy)
    assert served(queue, 1) == {"a": 5, "b": 5}


def test_the_earliest_deadline_leads_over_shapes() -> None:
    """The batch is of the shape of what is due first."""
    queue = filled(ONE, item(0.0, deadline=9.0, bucket="x"), first := item(0.0, deadline=5.0, bucket="y"))
    cut = queue.take(1.0).cut
    assert cut is not None
    assert cut.items == [first]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 5), min_size=2),
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 4)),
    st.integers(4, 16),
)
def test_shares_follow_weights(weights: dict[str, int], rows: dict[str, int], size: int) -> None:
    """While all wait, each tenant has had its weight's share, within a batch and a request."""
    items = [one for tenant in weights for one in flood(tenant, 300, rows.get(tenant, 1))]
    policy = BatchPolicy(max_batch_size=size, max_queue=10_000)
    queue = filled(policy, *items, weights={tenant: float(weight) for tenant, weight in weights.items()})
    had = served(queue, 12)
    fair = sum(had.values()) / sum(weights.values())
    for tenant, weight in weights.items():
        assert abs(had[tenant] - fair * weight) <= size + 4


def test_tenants_that_come_and_go_leave_nothing() -> None:
    """Five thousand tenants, one request each: what is remembered of them is bounded."""
    queue: BatchQueue[Item] = BatchQueue(BatchPolicy())
    for number in range(5000):
        assert queue.offer(item(float(number), tenant=f"t{number}")) is None
        assert len(list(cuts(queue, float(number), 0.001))) == 1
    assert queue.remembered() <= 3 * 1024
