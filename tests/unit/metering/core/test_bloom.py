"""The filter that knows which keys are certainly new."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.bloom import Bloom, Words


def words(values: list[int]) -> Words:
    return np.array(values, np.uint64)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=200))
def test_what_was_added_is_never_called_new(pairs: list[tuple[int, int]]) -> None:
    """A filter may be wrong about a new key, never about a known one."""
    bloom = Bloom(200)
    first, second = words([a for a, _ in pairs]), words([b for _, b in pairs])
    bloom.add(first, second)
    assert bloom.may_have(first, second).all()


def test_few_new_keys_are_suspected() -> None:
    """A filter that is full suspects less than 1 in 200 of the keys that it never saw."""
    random = np.random.default_rng(1)
    known, new = (random.integers(0, 2**64, (2, 4096), np.uint64) for _ in range(2))
    bloom = Bloom(4096)
    bloom.add(*known)
    assert bloom.may_have(*new).mean() < 0.005
