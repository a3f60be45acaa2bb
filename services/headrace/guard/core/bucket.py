"""A token bucket. Waiting, if any, is somebody else's: it never sleeps and holds no lock."""


class TokenBucket:
    """`rate` tokens a second, `burst` at the most; begins full unless told otherwise.

    `held` tokens have left the bucket and are not known to be spent: they count
    against `burst`, so that what is in the bucket and what is held can never be
    spent together as more than one burst.
    """

    __slots__ = ("_at", "_level", "burst", "held", "rate")

    def __init__(self, rate: float, burst: float, now: float, *, missing: float = 0.0) -> None:
        self.rate = rate
        self.burst = burst
        self.held = 0
        self._level = burst - missing
        self._at = now

    def level(self, now: float) -> float:
        """Tokens in the bucket; negative while it is in debt."""
        if now > self._at:
            room = self.burst - self.held - self._level
            if room > 0:
                self._level += min(room, (now - self._at) * self.rate)
            self._at = now
        return self._level

    def take(self, tokens: float, now: float) -> None:
        """Removes tokens, those that are not there too: at most one burst of debt."""
        self._level = max(-self.burst, self.level(now) - tokens)

    def put_back(self, tokens: float, now: float) -> None:
        """Returns tokens that were not spent; never above the burst."""
        level = self.level(now)
        self._level = max(level, min(self.burst - self.held, level + tokens))

    def hold(self, tokens: int, now: float) -> None:
        """So many more tokens, or fewer when negative, are held and not known to be spent."""
        level = self.level(now)
        self.held = max(0, self.held + tokens)
        self._level = min(level, self.burst - self.held)

    def wait_s(self, tokens: float, now: float) -> float:
        """Seconds until there are so many tokens, if nobody takes any."""
        return max(0.0, (tokens - self.level(now)) / self.rate)

    def resize(self, rate: float, burst: float, now: float) -> None:
        """Goes on under another limit, with what is missing still missing."""
        missing = self.burst - self.level(now)
        self.rate, self.burst = rate, burst
        self._level = max(-burst, burst - missing)
