"""How often the loop may read on before a batch of a quick model is cut.

Handing a batch to an instance costs both threads some 60 us, most of it for the
interpreter's lock. A model that takes no longer than that gets fewer and larger
batches when what has arrived already is read first: a turn of the loop takes
microseconds where nothing comes.
"""

QUICK_S = 0.001
"""A batch that takes longer is worth its hand-over: its instance is never kept waiting."""
TURNS = 6
"""At the most, however much keeps coming."""


class Gathering:
    """Of one model's queue; `full` is how many requests a batch takes."""

    def __init__(self, full: int) -> None:
        self._full = full
        self._quick = False
        self._seen = 0
        self._turns = 0

    def begin(self) -> None:
        """Requests have come for an instance that is idle."""
        self._seen = 0
        self._turns = 0

    def more(self, waiting: int) -> bool:
        """Whether the loop is to read once more before a batch is cut of those that wait."""
        if not self._quick or waiting >= self._full or waiting <= self._seen or self._turns >= TURNS:
            return False
        self._seen = waiting
        self._turns += 1
        return True

    def took(self, seconds: float) -> None:
        """A batch was executed."""
        self._quick = seconds < QUICK_S

    @property
    def quick(self) -> bool:
        """Whether the last batch took no longer than its hand-over."""
        return self._quick
