"""Quantiles out of a histogram's buckets."""

from collections.abc import Sequence
from math import inf

from headrace.insight.figures import Estimate, Quantiles

Buckets = Sequence[tuple[float, float]]
"""Upper bounds, growing, the last one infinite; and how many values are not above each."""


def quantile(q: float, buckets: Buckets) -> Estimate | None:
    """The q-quantile: linear within its bucket, whose lower end is the bound before it (0 for the first).

    None when no value is likely to lie above it: with fewer than 1/(1 - q)
    values the largest one would pass for a quantile. In the bucket without end
    all that can be said is its lower end, or more.
    """
    total = buckets[-1][1] if buckets else 0.0
    if total * (1.0 - q) < 1.0 - 1e-9:
        return None
    rank = q * total
    lower = below = 0.0
    for bound, count in buckets:
        if count >= rank:
            if bound == inf:
                return Estimate(lower, at_least=True)
            inside = count - below
            return Estimate(lower + (bound - lower) * ((rank - below) / inside if inside else 1.0))
        lower, below = bound, max(below, count)
    return Estimate(lower, at_least=True)


def quantiles(buckets: Buckets) -> Quantiles:
    """The three that are shown."""
    return Quantiles(quantile(0.5, buckets), quantile(0.95, buckets), quantile(0.99, buckets))
