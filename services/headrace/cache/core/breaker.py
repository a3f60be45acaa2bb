"""A circuit breaker: a table of states, and the count and the time that move it."""

from enum import Enum


class State(Enum):
    """Whether what is behind the breaker is asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Event(Enum):
    """What can happen to a breaker."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FAILED_OFTEN = "failed often"
    WAITED = "waited"
    ABANDONED = "abandoned"


STEPS = {
    (State.CLOSED, Event.SUCCEEDED): State.CLOSED,
    (State.CLOSED, Event.FAILED): State.CLOSED,
    (State.CLOSED, Event.FAILED_OFTEN): State.OPEN,
    (State.CLOSED, Event.ABANDONED): State.CLOSED,
    # Answers to what was asked before it opened.
    (State.OPEN, Event.SUCCEEDED): State.OPEN,
    (State.OPEN, Event.FAILED): State.OPEN,
    (State.OPEN, Event.FAILED_OFTEN): State.OPEN,
    (State.OPEN, Event.ABANDONED): State.OPEN,
    (State.OPEN, Event.WAITED): State.HALF_OPEN,
    (State.HALF_OPEN, Event.SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.FAILED): State.OPEN,
    (State.HALF_OPEN, Event.FAILED_OFTEN): State.OPEN,
    (State.HALF_OPEN, Event.ABANDONED): State.OPEN,
    # The probe was never heard of again.
    (State.HALF_OPEN, Event.WAITED): State.HALF_OPEN,
}


class Breaker:
    """Opens after `failures` in a row, lets one probe through every `open_s` seconds, closes when one succeeds.

    Who is admitted tells how it went, once: `succeeded`, `failed` or `abandoned`.
    """

    __slots__ = ("_again", "_failed", "_failures", "_open_s", "state")

    def __init__(self, failures: int = 5, open_s: float = 1.0, state: State = State.CLOSED) -> None:
        self.state = state
        self._failures = failures
        self._open_s = open_s
        self._failed = 0
        self._again = 0.0

    def admit(self, now: float) -> bool:
        """Whether to ask now; in an open breaker at most one caller every `open_s` may."""
        if self.state is State.CLOSED:
            return True
        if now < self._again:
            return False
        self._again = now + self._open_s
        self._step(Event.WAITED)
        return True

    def succeeded(self) -> None:
        """An answer came in time."""
        self._failed = 0
        self._step(Event.SUCCEEDED)

    def failed(self, now: float) -> None:
        """None came, or an error."""
        self._failed += 1
        was = self.state
        self._step(Event.FAILED_OFTEN if self._failed >= self._failures else Event.FAILED)
        if self.state is State.OPEN and was is not State.OPEN:
            self._again = now + self._open_s

    def abandoned(self) -> None:
        """Who asked went away: nothing is known, and another may try at once."""
        if self.state is State.HALF_OPEN:
            self._again = 0.0
        self._step(Event.ABANDONED)

    def _step(self, event: Event) -> None:
        self.state = STEPS[self.state, event]
