"""Time, as an argument: what decides by it can be tested without waiting."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to measure with, one to write down."""

    def monotonic(self) -> float:
        """Seconds that never go back; the clock of deadlines and waits."""
        ...

    def time_ns(self) -> int:
        """Nanoseconds since 1970, for what is stored or sent; may jump."""
        ...


class SystemClock:
    """The machine's clocks. `monotonic` is the event loop's clock too."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time_ns(self) -> int:
        return time.time_ns()
