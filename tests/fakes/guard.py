"""A clock that is moved by hand, and a store that only remembers."""

from collections.abc import Mapping


class HandClock:
    """Both clocks of `runtime.clock.Clock`, moved by `pass_by` only."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def pass_by(self, seconds: float) -> None:
        """So much time goes by."""
        self.now += seconds


class RememberingStore:
    """Keeps what it is given; fails when told to."""

    def __init__(self) -> None:
        self.saved: list[dict[str, int]] = []
        self.broken = False

    def save_revoked(self, tokens: Mapping[str, int]) -> None:
        if self.broken:
            raise OSError(28, "No space left on device")
        self.saved.append(dict(tokens))
