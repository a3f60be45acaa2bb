"""The cost curve: learns what batches take, quickly and without being fooled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.inference.core.costs import KNOWN_AFTER, CostCurve


def learned(
    base_s: float, slope_s: float, batches: int = 100, sizes: tuple[int, ...] = (1, 4, 16)
) -> CostCurve:
    curve = CostCurve()
    for number in range(batches):
        size = sizes[number % len(sizes)]
        curve.observe(size, base_s + slope_s * size)
    return curve


@given(st.floats(1e-5, 0.1), st.floats(1e-5, 0.1))
def test_it_finds_base_and_slope(base_s: float, slope_s: float) -> None:
    """Of what does follow from its size, within 10 % between the sizes it saw."""
    curve = learned(base_s, slope_s)
    assert curve.known
    for size in (1, 8, 16):
        assert curve.predict(size) == pytest.approx(base_s + slope_s * size, rel=0.1)


def test_nothing_is_known_of_a_few_batches() -> None:
    """Nobody is refused by a guess."""
    assert not learned(0.01, 0.001, batches=KNOWN_AFTER - 1).known


def test_a_model_whose_time_is_not_its_size_is_never_known() -> None:
    """A loop that runs as often as its input says."""
    curve = CostCurve()
    for number in range(400):
        curve.observe(1, 0.001 * 30 ** (number * 7 % 5 / 2))
    assert not curve.known


def test_a_stall_is_no_law() -> None:
    """One batch that took a hundred times as long moves the curve by less than 15 %."""
    curve = learned(0.010, 0.001, batches=60)
    before = curve.predict(8)
    curve.observe(4, 1.4)
    assert curve.predict(8) < before * 1.25
    assert curve.known


def test_a_model_that_became_slower_is_learned() -> None:
    """Old batches fade."""
    curve = learned(0.010, 0.001, batches=64)
    for number in range(400):
        size = (1, 4, 16)[number // 4 % 3]
        curve.observe(size, 0.030 + 0.003 * size)
    assert curve.predict(8) == pytest.approx(0.054, rel=0.15)


def test_one_size_alone_tells_no_slope() -> None:
    """Half of its time is then taken to be fixed: neither more rows for nothing, nor each at full price."""
    curve = learned(0.010, 0.0, sizes=(4,))
    assert 0.010 < curve.predict(8) < 0.020
    assert 0.005 < curve.predict(1) < 0.010


def test_sizes_that_cost_more_a_row_are_not_worth_running() -> None:
    """Batches that leave the processor's caches: the largest size that is as good as the best."""
    curve = CostCurve()
    for number in range(64):
        size = (1, 4, 16, 32)[number % 4]
        curve.observe(size, size * (0.0010 if size < 32 else 0.0014))
    assert curve.cap == 16
    assert curve.best_s == pytest.approx(0.0010)


def test_a_size_is_not_given_up_for_what_may_be_chance() -> None:
    """Batches that share a core now and then take half as long again: 8 % between the means of two sizes say nothing then."""
    noisy, quiet = CostCurve(), CostCurve()
    for number in range(64):
        size, off = (4, 32)[number % 2], (0.7, 1.3)[number // 2 % 2]
        seconds = size * (0.0010 if size < 32 else 0.00108)
        noisy.observe(size, seconds * off)
        quiet.observe(size, seconds)
    assert (noisy.cap, quiet.cap) == (0, 4)


def test_what_the_hand_over_takes_is_spread_over_the_rows() -> None:
    """A quick model whose thread waits for a core: large batches that were interrupted now and then still pay."""
    alone, handed, dear = CostCurve(), CostCurve(), CostCurve()
    for number in range(64):
        size = (1, 4, 16, 32)[number % 4]
        seconds = size * (0.0001 if size <= 4 else 0.0002)
        alone.observe(size, seconds)
        handed.observe(size, seconds, 0.010)
        dear.observe(size, size * 0.0001, 0.0 if size < 32 else 0.1)
    assert alone.cap == 4
    assert handed.cap == 0
    assert dear.cap == 16
    assert handed.best_s == alone.best_s
    assert handed.predict(16) == alone.predict(16)


def test_a_size_that_was_given_up_is_tried_again() -> None:
    """What is known of it is forgotten after a while."""
    curve = CostCurve()
    for number in range(64):
        size = (16, 32)[number % 2]
        curve.observe(size, size * (0.0010 if size < 32 else 0.0014))
    assert curve.cap == 16
    for _ in range(3000):
        curve.observe(16, 0.016)
    assert curve.cap == 0
