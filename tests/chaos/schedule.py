"""Which fault comes when: drawn from a seed, so that a run can be had again. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST_S, LONGEST_S = 0.3, 2.0
"""How long a process is held, or a store starved."""


@dataclass(frozen=True, slots=True)
class Round:
    """One fault. `pick` says which of several victims (modulo their number), `pause_s` comes before it."""

    kind: str
    pick: int
    lasts_s: float
    pause_s: float


def rounds(seed: int, count: int, kinds: Sequence[str]) -> list[Round]:
    """So many rounds; every kind comes once before any comes again."""
    draw = random.Random(seed)
    found: list[Round] = []
    while len(found) < count:
        deck = list(kinds)
        draw.shuffle(deck)
        found += [
            Round(kind, draw.randrange(64), draw.uniform(SHORTEST_S, LONGEST_S), draw.uniform(0.05, 0.5))
            for kind in deck
        ]
    return found[:count]
