"""Max-min fair shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guard.core.sharing import max_min


@pytest.mark.parametrize(
    ("available", "wants", "shares"),
    [
        (10, [3, 3], [3, 3]),
        (10, [2, 20], [2, 8]),
        (10, [20, 20], [5, 5]),
        (5, [20, 20], [2, 3]),
        (10, [1, 4, 20], [1, 4, 5]),
        (0, [1, 2], [0, 0]),
        (-3, [1, 2], [0, 0]),
        (7, [], []),
    ],
)
def test_the_small_wants_are_met_first(available: int, wants: list[int], shares: list[int]) -> None:
    """Who wants little gets it whole; the others share what is left."""
    assert max_min(available, wants) == shares


@given(st.integers(0, 1000), st.lists(st.integers(0, 200), max_size=12))
def test_shares_are_exact_and_fair(available: int, wants: list[int]) -> None:
    """They add up to all that is wanted or all there is, and who is short has no less than anybody but for one."""
    shares = max_min(available, wants)
    assert sum(shares) == min(available, sum(wants))
    assert all(0 <= share <= want for share, want in zip(shares, wants, strict=True))
    short = [share for share, want in zip(shares, wants, strict=True) if share < want]
    assert not short or min(short) >= max(shares) - 1
