"""Whether a gateway that takes no new connections has said all that it has to say."""

from typing import NamedTuple


class Activity(NamedTuple):
    """What clients have of a gateway: open connections, requests under way, requests since its start."""

    connections: int
    requests: int
    total: int


class Quiet:
    """Over when nobody is connected, or nobody has asked for `for_s`.

    A request that was sent and not yet read is nowhere counted: that none is
    under way at one moment says nothing about a client that is busy.
    """

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._total = -1
        self._since = 0.0

    def over(self, seen: Activity, now: float) -> bool:
        """Whether it may go; `seen` is what it does at `now`."""
        if seen.requests or seen.total != self._total:
            self._total = seen.total
            self._since = now
        return not seen.connections or now - self._since >= self._for_s
