"""Whose turn it is for one of the slots that a model's replicas on one machine share.

Who has waited longest goes first, and is told when a slot is free. Within a
bound: whoever waits longer than that may be stopped or dead, and holds nobody up.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

LEAST_PATIENCE_S = 0.25
BATCHES = 8
"""So many of its own batches a replica waits: nine others that share two slots have had more than a turn each by then."""

FADING = 0.9
"""What is kept of the longest batch with each shorter one."""


class Grant(NamedTuple):
    """The leave to execute a batch: a slot's number, and since when it was waited for (monotonic seconds).

    NOTHING stands for a batch that holds no slot.
    """

    slot: int
    asked_at: float


NOTHING = -1
FREELY = Grant(NOTHING, inf)
"""For who needs no slot and has asked for none."""


def longest_batch_s(before_s: float, took_s: float) -> float:
    """About the longest of the last batches, of which the newest took `took_s`."""
    return max(took_s, FADING * before_s)


def patience_s(batch_s: float) -> float:
    """How long a slot is waited for when batches take `batch_s`."""
    return max(LEAST_PATIENCE_S, BATCHES * batch_s)


def goes_first(waiting: Sequence[float], since: float, now: float, patience: float) -> bool:
    """Whether nobody has waited longer than `since`; `waiting` has when each began, 0 for who does not wait."""
    return not any(now - patience < other < since for other in waiting)


def longest(waiting: Sequence[float], now: float, patience: float) -> int | None:
    """The place of who has waited longest, of those that may still be there; None when nobody waits."""
    places = [place for place, since in enumerate(waiting) if now - patience < since]
    return min(places, key=waiting.__getitem__, default=None)
