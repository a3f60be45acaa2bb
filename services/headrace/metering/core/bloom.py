"""A Bloom filter over pairs of 64-bit hashes: which keys are certainly new.

Without it, each event would be looked up in every hour that its key may be in.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headrace.metering.core.batch import Flags

Words = NDArray[np.uint64]

BITS_PER_KEY = 16
PROBES = 6
"""One key in 1,000 that is new is looked up for nothing."""


class Bloom:
    """Says of each key whether it may have been added. Grows by being built anew."""

    def __init__(self, capacity: int) -> None:
        """For up to `capacity` keys, rounded up to a power of two."""
        bits = 1 << max(6, (capacity * BITS_PER_KEY - 1).bit_length())
        self.capacity = bits // BITS_PER_KEY
        self.count = 0
        self._mask = np.uint64(bits - 1)
        self._words = np.zeros(bits // 8, np.uint8)

    def add(self, first: Words, second: Words) -> None:
        """Adds the keys with these hashes."""
        for places in self._places(first, second):
            np.bitwise_or.at(self._words, places >> np.uint64(3), _bit(places))
        self.count += len(first)

    def may_have(self, first: Words, second: Words) -> Flags:
        """For each key: False when it was certainly not added."""
        found = np.ones(len(first), np.bool_)
        for places in self._places(first, second):
            found &= (self._words[places >> np.uint64(3)] & _bit(places)) != 0
            if not found.any():
                break
        return found

    def _places(self, first: Words, second: Words) -> Iterator[Words]:
        odd = second | np.uint64(1)
        for probe in range(PROBES):
            yield (first + np.uint64(probe) * odd) & self._mask


def _bit(places: Words) -> NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
