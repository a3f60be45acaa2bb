"""How much longer requests wait than the cost curve says, learned from those that were served."""

LEARNING = 0.1
"""Weight of the newest wait: about the last ten batches count."""

LEAST, MOST = 0.8, 4.0

SHORTEST_S = 0.001
"""A predicted wait below this says nothing: what it really takes is the time of everything else."""


class Forecast:
    """`factor` x predicted is what requests really wait.

    The curve knows what a batch takes, not what lies between two of them, nor that batches
    get smaller when deadlines are near; on a machine that does too much both grow.
    """

    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 1.0

    def served(self, predicted: float, waited: float) -> None:
        """Learns from a request whose turn came."""
        if predicted >= SHORTEST_S:
            ratio = min(MOST, max(LEAST, waited / predicted))
            self.factor += LEARNING * (ratio - self.factor)

    def missed(self, predicted: float, waited: float) -> None:
        """Learns from a request whose turn did not come in time: it would have waited longer still."""
        if predicted >= SHORTEST_S and waited > predicted * self.factor:
            self.served(predicted, waited)
