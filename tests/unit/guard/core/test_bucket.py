"""The token bucket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.guard.core.bucket import TokenBucket


def test_it_begins_full_and_refills_at_its_rate() -> None:
    """A burst at once, then the rate, never above the burst."""
    bucket = TokenBucket(10.0, 5, 100.0)
    assert bucket.level(100.0) == 5
    bucket.take(5, 100.0)
    assert bucket.level(100.0) == 0
    assert bucket.wait_s(1, 100.0) == pytest.approx(0.1)
    assert bucket.level(100.25) == pytest.approx(2.5)
    assert bucket.level(200.0) == 5


def test_a_clock_that_goes_back_changes_nothing() -> None:
    """Time that was counted is not counted again."""
    bucket = TokenBucket(10.0, 5, 100.0)
    bucket.take(5, 100.0)
    assert bucket.level(100.1) == pytest.approx(1)
    assert bucket.level(99.0) == pytest.approx(1)
    assert bucket.level(100.1) == pytest.approx(1)


def test_what_is_held_counts_against_the_burst() -> None:
    """Tokens that a holder may still spend are not refilled behind its back."""
    bucket = TokenBucket(10.0, 5, 0.0)
    bucket.take(4, 0.0)
    bucket.hold(4, 0.0)
    assert bucket.level(60.0) == 1
    bucket.hold(-4, 60.0)
    assert bucket.level(60.0) == 1
    assert bucket.level(60.2) == pytest.approx(3)


def test_tokens_that_were_not_spent_come_back() -> None:
    """But never above the burst."""
    bucket = TokenBucket(0.001, 5, 0.0)
    bucket.take(4, 0.0)
    bucket.put_back(3, 0.0)
    assert bucket.level(0.0) == pytest.approx(4)
    bucket.put_back(3, 0.0)
    assert bucket.level(0.0) == pytest.approx(5)


def test_debt_is_bounded() -> None:
    """What was admitted elsewhere is owed, at most one burst of it."""
    bucket = TokenBucket(1.0, 5, 0.0)
    bucket.take(500, 0.0)
    assert bucket.level(0.0) == -5
    assert bucket.wait_s(1, 0.0) == pytest.approx(6)


def test_a_new_limit_keeps_what_is_missing() -> None:
    """Changing the limit hands out no new burst."""
    bucket = TokenBucket(1.0, 5, 0.0)
    bucket.take(5, 0.0)
    bucket.resize(1.0, 10, 0.0)
    assert bucket.level(0.0) == 0 + 5
    bucket.resize(1.0, 5, 0.0)
    assert bucket.level(0.0) == 0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 8)), max_size=60), st.integers(1, 10))
def test_no_window_sees_more_than_a_burst_and_the_rate(asks: list[tuple[float, int]], burst: int) -> None:
    """In any window: tokens taken <= burst + rate x length."""
    bucket, rate, now = TokenBucket(3.0, burst, 0.0), 3.0, 0.0
    taken: list[tuple[float, int]] = []
    for pause, tokens in asks:
        now += pause
        if bucket.level(now) >= tokens:
            bucket.take(tokens, now)
            taken.append((now, tokens))
    for first, (start, _) in enumerate(taken):
        for last in range(first, len(taken)):
            total = sum(tokens for _, tokens in taken[first : last + 1])
            assert total <= burst + rate * (taken[last][0] - start) + 1e-6
