"""A whole, shared so that the parts add up to it exactly."""

from collections.abc import Sequence


def split_by_rows(total_ns: int, rows: Sequence[int]) -> list[int]:
    """A batch's time, shared over its requests by their rows.

    Whole numbers whose sum is `total_ns`, each less than one away from its exact
    share: what rounding down leaves goes to the largest remainders, of equal ones
    to the first (largest remainder). Without any row, all requests are equal.
    Raises ValueError when `total_ns` or a number of rows is negative.
    """
    if total_ns < 0 or any(count < 0 for count in rows):
        raise ValueError("neither time nor rows can be negative")
    weights = rows if sum(rows) else [1] * len(rows)
    whole = sum(weights)
    if len(weights) < 2:
        return [total_ns] * len(weights)
    parts = [total_ns * weight // whole for weight in weights]
    left = total_ns - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda i: -(total_ns * weights[i] % whole))
    for i in by_remainder[:left]:
        parts[i] += 1
    return parts
