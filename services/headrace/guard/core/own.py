"""What a process may admit by itself while it has no guard."""

from headrace.guard.core.bucket import TokenBucket
from headrace.guard.core.limits import Limits


class OwnShare:
    """The tenant's rate and burst over the number of holders.

    It is charged for all that the process admits, by leases too: who has just
    spent the burst by leases does not get another one when the guard is lost.
    """

    __slots__ = ("_bucket", "_charged")

    def __init__(self, limits: Limits, holders: int, now: float) -> None:
        self._bucket = TokenBucket(limits.rate, limits.burst, now)
        self._charged = 0
        self.resize(limits, holders, now)

    def resize(self, limits: Limits, holders: int, now: float) -> None:
        """Other limits, or another number of holders."""
        self._bucket.resize(limits.rate / holders, max(1.0, limits.burst / holders), now)

    def charge(self, used: int, now: float) -> None:
        """So many were admitted since the beginning."""
        self._bucket.take(used - self._charged, now)
        self._charged = used

    def wait_s(self, now: float) -> float:
        """Seconds until it allows a request; 0 when it does."""
        return 0.0 if self._bucket.level(now) >= 1.0 else max(self._bucket.wait_s(1.0, now), 0.001)

    def recovered(self, now: float) -> bool:
        """Whether it is as a new one, but for the rounding."""
        return self.deficit(now) < 1e-6

    def deficit(self, now: float) -> float:
        """Requests admitted of late that the rate has not made up for."""
        return max(0.0, self._bucket.burst - self._bucket.level(now))
