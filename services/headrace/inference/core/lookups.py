"""Whether the cache is worth asking for a request that the queue would refuse."""

from headrace.inference.core.coming import Coming

LEARNING = 1 / 64
"""Weight of the newest look-up."""

WORTH = 0.02
"""A look-up costs about a fiftieth of what it spares where it finds the answer."""

TRIED = 16
"""Of the requests of a model that refuses some, one of so many has a look-up all the same."""


class LookUps:
    """How often one model's answers are found.

    Under overload a look-up for each refusal takes from those who are served what it
    costs; where answers are found it serves them without the model. So it is made
    where it finds something now and then, and else tried once in a while.
    """

    __slots__ = ("_passed", "coming", "share")

    def __init__(self) -> None:
        self.share = 1.0
        self.coming = Coming()
        self._passed = 0

    def ended(self, *, hit: bool) -> None:
        """Learns from a look-up."""
        self.share += LEARNING * (hit - self.share)

    def worth(self) -> bool:
        """Whether to ask the cache for the next request of a model that refuses some."""
        if self.share >= WORTH:
            return True
        self._passed = (self._passed + 1) % TRIED
        return self._passed == 0
