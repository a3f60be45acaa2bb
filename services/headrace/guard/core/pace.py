"""How fast requests of one tenant come, measured once in a tick."""

import math

AHEAD_TICKS = 3
"""What is wanted ahead of time lasts for so many ticks at the present pace."""
IDLE_TICKS = 20
"""A tenant without requests for so many ticks is forgotten."""


class Pace:
    """Rises at once and falls slowly, so that a pause gives little back that is soon asked for again."""

    __slots__ = ("_idle", "_peak", "_requests")

    def __init__(self) -> None:
        self._requests = 0.0
        self._peak = 0
        self._idle = 0

    def measure(self, requests: int, in_flight: int) -> None:
        """So many came in the last tick, and so many are in flight."""
        self._idle = 0 if requests or in_flight else self._idle + 1
        self._requests = max(float(requests), self._requests * 0.5)
        self._peak = max(in_flight, self._peak - 1 - self._peak // 16)

    @property
    def idle(self) -> bool:
        """Whether nothing came for a while."""
        return self._idle >= IDLE_TICKS

    @property
    def tokens_ahead(self) -> int:
        """Tokens to have before requests ask for them."""
        return math.ceil(self._requests * AHEAD_TICKS) if self._requests >= 0.1 else 0

    @property
    def slots_ahead(self) -> int:
        """Slots to have before requests ask for them."""
        return 0 if self.idle else self._peak + self._peak // 4 + 1

    @property
    def slots_kept(self) -> int:
        """Slots above so many are given back."""
        return 0 if self.idle else self._peak + self._peak // 2 + 2
