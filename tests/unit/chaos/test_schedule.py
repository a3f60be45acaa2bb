"""The order of the faults."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import LONGEST_S, SHORTEST_S, rounds

KINDS = ["kill guard", "kill cache", "stop guard", "pause the store"]


@given(st.integers(0, 2**32), st.integers(0, 40))
def test_rounds(seed: int, count: int) -> None:
    """As many as asked for, the same for the same seed, every kind before any comes again, holds within their bounds."""
    found = rounds(seed, count, KINDS)
    assert found == rounds(seed, count, KINDS)
    assert len(found) == count
    for first in range(0, count - count % len(KINDS), len(KINDS)):
        assert Counter(one.kind for one in found[first : first + len(KINDS)]) == Counter(KINDS)
    assert all(SHORTEST_S <= one.lasts_s <= LONGEST_S for one in found)


def test_another_seed_is_another_order() -> None:
    """The order depends on the seed."""
    assert rounds(1, 40, KINDS) != rounds(2, 40, KINDS)
