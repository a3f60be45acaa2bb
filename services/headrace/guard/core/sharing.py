"""Shares something scarce among those who want it."""

from collections.abc import Sequence


def max_min(available: int, wants: Sequence[int]) -> list[int]:
    """Max-min fair shares in whole numbers: nobody gets more than it wants, and whoever gets less than
    it wants gets no less than anybody else, but for one left over by the division.

    Their sum is the smaller of `available` and the sum of the wants.
    """
    shares = [0] * len(wants)
    left = max(0, available)
    open_wants = sorted(range(len(wants)), key=lambda index: wants[index])
    for place, index in enumerate(open_wants):
        # The small wants first: what they leave is shared by the others.
        share = min(wants[index], left // (len(open_wants) - place))
        shares[index] = share
        left -= share
    for index in open_wants:
        if left and shares[index] < wants[index]:
            shares[index] += 1
            left -= 1
    return shares
