"""A clock that is moved by hand, and a store that only remembers."""

from collections.abc import Callable, Mapping


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


class HandTimers:
    """The event loop's timers, which go off when the test says so."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self._due: list[HandTimer] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> "HandTimer":
        timer = HandTimer(self._clock.now + delay, callback, args)
        self._due.append(timer)
        return timer

    def pass_by(self, seconds: float) -> None:
        """So much time goes by, and what is due then is called, each at its time."""
        end = self._clock.now + seconds
        while due := sorted(
            (timer for timer in self._due if timer.when <= end), key=lambda timer: timer.when
        ):
            timer = due[0]
            self._due.remove(timer)
            self._clock.now = max(self._clock.now, timer.when)
            timer.go_off()
        self._clock.now = end


class HandTimer:
    """One of them."""

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        self.when = when
        self._callback: Callable[..., object] | None = callback
        self._args = args

    def cancel(self) -> None:
        self._callback = None

    def go_off(self) -> None:
        """Calls back, unless it was cancelled."""
        if self._callback is not None:
            self._callback(*self._args)
