"""Quantiles from buckets, against numpy's from the values themselves."""

from bisect import bisect_left
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.insight.core.quantiles import Buckets, quantile
from headrace.insight.figures import Estimate
from headrace.runtime.metrics import SECONDS_BUCKETS

BOUNDS = (*SECONDS_BUCKETS, inf)


def buckets(values: list[float]) -> Buckets:
    return [(bound, sum(value <= bound for value in values)) for bound in BOUNDS]


@given(st.lists(st.floats(0, 60), min_size=2, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_an_estimate_is_in_the_bucket_of_the_quantile(values: list[float], q: float) -> None:
    """It can't be nearer than that, and must not be farther; of too few values there is none."""
    found = quantile(q, buckets(values))
    if len(values) * (1 - q) < 1 - 1e-9:
        assert found is None
        return
    assert found is not None
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    bucket = bisect_left(BOUNDS, exact)
    assert found.at_least == (BOUNDS[bucket] == inf)
    assert (0, *BOUNDS)[bucket] <= found.seconds <= BOUNDS[bucket]


def test_an_estimate_is_linear_within_its_bucket() -> None:
    """A hundred values between 10 and 20 ms: the median is in the middle."""
    assert quantile(0.5, [(0.01, 0), (0.02, 100), (inf, 100)]) == Estimate(0.015)


@pytest.mark.parametrize(("q", "few", "enough"), [(0.5, 1, 2), (0.95, 19, 20), (0.99, 99, 100)])
def test_too_few_values_have_no_quantile(q: float, few: int, enough: int) -> None:
    """The largest of them would pass for one."""
    assert quantile(q, [(1.0, few), (inf, few)]) is None
    assert quantile(q, [(1.0, enough), (inf, enough)]) is not None


def test_nothing_has_no_quantile() -> None:
    """Which is not zero."""
    assert quantile(0.5, ()) is None
    assert quantile(0.5, [(1.0, 0), (inf, 0)]) is None


def test_buckets_that_were_read_while_they_grew_do_no_harm() -> None:
    """A bucket may have been told after a larger one, and be ahead of it."""
    found = quantile(0.5, [(0.01, 60), (0.02, 50), (0.05, 100), (inf, 100)])
    assert found is not None
    assert 0 < found.seconds <= 0.05
