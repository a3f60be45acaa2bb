"""What padding costs, and that it stays below its share."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.padding import grouped, length_class
from headrace.inference.core.policy import BatchPolicy
from tests.support.queues import cuts, filled, item

LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=64)


@given(LENGTHS, st.sampled_from([0.0, 0.05, 0.15, 0.5]))
def test_groups_hold_every_row_once_and_little_padding(lengths: list[int], share: float) -> None:
    """Each group's share of padding is within the bound."""
    groups = grouped(lengths, share)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        cells = len(group) * max(lengths[place] for place in group)
        assert cells - sum(lengths[place] for place in group) <= share * cells


def test_equal_lengths_are_one_group() -> None:
    """Nothing is split that needs no padding."""
    assert grouped([7] * 30, 0.0) == [list(range(30))]


@given(LENGTHS, st.sampled_from([0.0, 0.15, 0.4]))
def test_a_batch_of_mixed_lengths_is_padded_within_its_share(lengths: list[int], share: float) -> None:
    """And every request is in one."""
    items = [item(0.0, length=length, length_class=length_class(length)) for length in lengths]
    queue = filled(BatchPolicy(max_batch_size=16, padding=share), *items)
    left = list(items)
    for cut in cuts(queue, 1.0):
        longest = max(one.length for one in cut.items)
        assert cut.padded == sum(longest - one.length for one in cut.items)
        assert cut.padded <= share * cut.cells
        for one in cut.items:
            left.remove(one)
    assert not left


def test_near_lengths_come_first_into_a_batch() -> None:
    """Whoever waits longest leads; those nearest to its length go with it, and padding is why no more do."""
    lengths = [100, 10, 101, 98, 11, 95]
    items = [item(float(i), length=size, length_class=length_class(size)) for i, size in enumerate(lengths)]
    batches = list(cuts(filled(BatchPolicy(max_batch_size=16), *items), 9.0))
    assert [sorted(one.length for one in cut.items) for cut in batches] == [[95, 98, 100, 101], [10, 11]]
    assert [cut.bound for cut in batches] == ["padding", "all"]
