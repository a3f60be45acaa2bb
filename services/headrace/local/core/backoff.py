"""How long to wait before a process that died is started again.

The first restart is almost at once, because a replica that is gone costs
capacity; each further failure waits longer, because a process that can't run
must not eat the machine. A run that lasted wipes the slate.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits: `first_s` times `factor` per failure, at the most `most_s`.

    Up to `jitter` of the wait is added, so that processes that died together
    are not started together. `stable_s` is how long a run lasts before the
    failures ahead of it no longer count.
    """

    first_s: float = 0.1
    factor: float = 2.0
    most_s: float = 10.0
    jitter: float = 0.2
    stable_s: float = 30.0

    def failures(self, before: int, ran_s: float) -> int:
        """Failures in a row, after a run of `ran_s` that ended by itself."""
        return 1 if ran_s >= self.stable_s else before + 1

    def delay_s(self, failures: int, draw: float) -> float:
        """The wait after `failures` in a row; `draw` is random in [0, 1)."""
        if failures <= 0:
            return 0.0
        # The exponent is bounded: 2.0 ** 1024 overflows after enough failures.
        wait = min(self.most_s, self.first_s * self.factor ** min(failures - 1, 64))
        return wait * (1.0 + self.jitter * draw)
