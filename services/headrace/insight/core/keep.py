"""Which traces are kept when more arrive than are wanted. Decides; stores nothing.

A trace is kept or dropped whole: the first that is heard of it decides, and the
decision is remembered for as long as its other spans are likely to arrive.
"""

from collections import OrderedDict
from collections.abc import Iterable

REMEMBERED = 65_536
"""Decisions kept in mind: 20 minutes' worth at 50 traces/s."""


class KeepRate:
    """A token bucket over traces that keeps linked traces together.

    A request and the batch that executed it are two traces linked to each other;
    either is of little use without the other. So a new trace that is linked with
    a kept one is kept too, and one linked with dropped ones only is dropped. What
    is kept for a link's sake is paid for: the bucket may go as deep into debt as
    it is high, so that the rate holds over time.
    """

    def __init__(self, rate: float, burst: float, *, remembered: int = REMEMBERED) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled: float | None = None
        self._remembered = remembered
        self._decisions: OrderedDict[bytes, bool] = OrderedDict()

    def keeps(self, trace_id: bytes, linked: Iterable[bytes], now: float) -> bool:
        """Whether to keep the spans of this trace; `now` is monotonic, in seconds."""
        known = self._decisions.get(trace_id)
        if known is None:
            known = self._decide(linked, now)
            self._decisions[trace_id] = known
            while len(self._decisions) > self._remembered:
                self._decisions.popitem(last=False)
        return known

    def _decide(self, linked: Iterable[bytes], now: float) -> bool:
        self._fill(now)
        told = {self._decisions.get(trace_id) for trace_id in linked}
        if True in told:
            floor = -self._burst
        elif False in told:
            return False
        else:
            floor = 0.0
        if self._tokens - 1 < floor:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float) -> None:
        if self._filled is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) * self._rate)
        self._filled = now
