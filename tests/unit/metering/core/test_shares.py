"""A batch's time over its requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metering.core.shares import split_by_rows


@given(total=st.integers(0, 10**15), rows=st.lists(st.integers(0, 1000), min_size=1, max_size=64))
def test_shares_sum_to_the_whole(total: int, rows: list[int]) -> None:
    """Not a nanosecond is lost or made, and each share is less than one away from its exact value."""
    shares = split_by_rows(total, rows)
    assert sum(shares) == total
    whole = sum(rows)
    for share, count in zip(shares, rows, strict=True):
        if whole:
            assert abs(share * whole - total * count) < whole


def test_what_is_left_goes_to_the_largest_remainders() -> None:
    """10 over 1, 1 and 1 rows: the first has the odd nanosecond; over 1 and 2 rows, 3.33 and 6.67."""
    assert split_by_rows(10, [1, 1, 1]) == [4, 3, 3]
    assert split_by_rows(10, [1, 2]) == [3, 7]


def test_a_request_pays_its_share_not_the_batch() -> None:
    """Of eight equal requests each pays an eighth."""
    assert split_by_rows(8000, [1] * 8) == [1000] * 8


def test_nobody_shares_nothing() -> None:
    """Without requests there are no shares; without rows they are equal."""
    assert split_by_rows(10, []) == []
    assert split_by_rows(10, [0, 0]) == [5, 5]
    assert split_by_rows(10, [0]) == [10]


@pytest.mark.parametrize(("total", "rows"), [(-1, [1]), (1, [-1, 2])])
def test_negative_numbers_are_refused(total: int, rows: list[int]) -> None:
    """Neither time nor rows can be negative."""
    with pytest.raises(ValueError, match="negative"):
        split_by_rows(total, rows)
