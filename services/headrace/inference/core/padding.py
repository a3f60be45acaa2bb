"""Requests of different lengths in one batch: who is near enough, and what padding costs."""

from collections.abc import Sequence
from math import log

CLASS_RATIO = log(1.15)
"""Lengths of one class are within 15 % of each other; batches are filled from the nearest classes first."""


def length_class(length: int) -> int:
    """The class of requests that are `length` (1 or more) long."""
    return int(log(length) / CLASS_RATIO)


def grouped(lengths: Sequence[int], share: float) -> list[list[int]]:
    """Rows of these lengths in groups, each padded to its longest: of no group more than `share` is padding.

    Places in `lengths`, the longest first; as few groups as that order allows.
    """
    groups: list[list[int]] = []
    longest = real = 0
    for place in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        length = lengths[place]
        cells = longest * (len(groups[-1]) + 1) if groups else 0
        if groups and cells - real - length <= share * cells:
            groups[-1].append(place)
            real += length
        else:
            groups.append([place])
            longest = real = length
    return groups
