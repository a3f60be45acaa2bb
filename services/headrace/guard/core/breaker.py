"""The circuit breaker of one model: a table and one step.

Only a probe closes or reopens a breaker that has opened: what was admitted
before says how the model was, not how it is. So a success counts as a probe's
or as anybody's; the shell tells which.
"""

from enum import Enum

from headrace.guard.core.limits import BreakerRule, Code


class State(Enum):
    """CLOSED: requests pass. OPEN: none. HALF_OPEN: one probe at a time."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


class Event(Enum):
    """What moves a breaker."""

    TOO_MANY_FAILURES = "too many failures"
    OPEN_OVER = "open time over"
    PROBE_SUCCEEDED = "probe succeeded"
    PROBE_FAILED = "probe failed"


NEXT: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.TOO_MANY_FAILURES): State.OPEN,
    (State.OPEN, Event.OPEN_OVER): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PROBE_SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
}
"""An event that a state does not list leaves it as it is."""


class Breaker:
    """Counts failures in a row; lets one probe through when it has been open long enough."""

    __slots__ = ("_opened", "_probe", "_probe_until", "_rule", "failures", "state")

    def __init__(self, rule: BreakerRule) -> None:
        self._rule = rule
        self._opened = 0.0
        self._probe = 0
        self._probe_until = 0.0
        self.state = State.CLOSED
        self.failures = 0

    @property
    def idle(self) -> bool:
        """Whether it is as a new one: it need not be remembered."""
        return self.state is State.CLOSED and self.failures == 0

    def record(self, code: Code, count: int, now: float) -> None:
        """Requests, none of them a probe, ended so. IGNORED never counts."""
        if self.state is not State.CLOSED or code is Code.IGNORED:
            return
        self.failures = 0 if code is Code.SUCCESS else self.failures + count
        if self.failures >= self._rule.failures:
            self._step(Event.TOO_MANY_FAILURES, now)

    def wait_s(self, now: float) -> float:
        """Seconds until a probe may be tried; 0 when one may, or is under way, or none is needed."""
        if self.state is not State.OPEN:
            return 0.0
        return max(0.0, self._opened + self._rule.open_s - now)

    def probe(self, number: int, now: float, probe_s: float) -> bool:
        """Whether request `number` is the one that may pass; it has `probe_s` seconds to end."""
        if self.state is State.OPEN and self.wait_s(now) <= 0.0:
            self._step(Event.OPEN_OVER, now)
        if self.state is not State.HALF_OPEN or (self._probe and now < self._probe_until):
            return False
        self._probe, self._probe_until = number, now + probe_s
        return True

    def probe_wait_s(self, now: float) -> float:
        """Seconds until the probe under way has ended or is given up."""
        return max(0.0, self._probe_until - now) if self._probe else 0.0

    def probed(self, number: int, code: Code, now: float) -> None:
        """The probe ended; one that was given up changes nothing."""
        if number != self._probe or not number:
            return
        self._probe = 0
        if code is not Code.IGNORED:
            self._step(Event.PROBE_SUCCEEDED if code is Code.SUCCESS else Event.PROBE_FAILED, now)

    def reopen(self, failures: int, wait_s: float, now: float) -> None:
        """Opens as another guard's breaker was: for `wait_s` more seconds."""
        self.failures = max(self.failures, failures)
        self.state = State.OPEN
        self._opened = now + wait_s - self._rule.open_s

    def _step(self, event: Event, now: float) -> None:
        state = NEXT.get((self.state, event), self.state)
        if state is State.OPEN and self.state is not State.OPEN:
            self._opened = now
        if state is State.CLOSED:
            self.failures = 0
        self.state = state
