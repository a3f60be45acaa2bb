"""Where a supervised process stands, as a table.

`step` is the only way from one state to another; a pair that the table lacks
is refused with `IllegalStep`, which callers of the supervisor see as
PROCESS_STATE.
"""

from enum import Enum, auto


class State(Enum):
    """The states of `headrace.local.v1.ProcessState`, by the same names."""

    STARTING = auto()
    HEALTHY = auto()
    UNHEALTHY = auto()
    BACKOFF = auto()
    DRAINING = auto()
    STOPPED = auto()


class Event(Enum):
    """What happens to a process."""

    START = auto()  # asked for, or the wait of a back-off is over
    ANSWERED = auto()  # a health check was answered SERVING
    UNANSWERED = auto()  # a health check was not
    EXITED = auto()  # the process is gone
    DRAIN = auto()  # asked for: take no new work
    STOP = auto()  # asked for: finish and go


class IllegalStep(Exception):
    """`event` can't happen in `state`."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event.name} in state {state.name}")
        self.state = state
        self.event = event


TABLE: dict[tuple[State, Event], State] = {
    (State.STOPPED, Event.START): State.STARTING,
    (State.STOPPED, Event.STOP): State.STOPPED,
    (State.STARTING, Event.ANSWERED): State.HEALTHY,
    (State.STARTING, Event.UNANSWERED): State.STARTING,
    (State.STARTING, Event.EXITED): State.BACKOFF,
    (State.STARTING, Event.STOP): State.DRAINING,
    (State.HEALTHY, Event.ANSWERED): State.HEALTHY,
    (State.HEALTHY, Event.UNANSWERED): State.UNHEALTHY,
    (State.HEALTHY, Event.EXITED): State.BACKOFF,
    (State.HEALTHY, Event.DRAIN): State.DRAINING,
    (State.HEALTHY, Event.STOP): State.DRAINING,
    (State.UNHEALTHY, Event.ANSWERED): State.HEALTHY,
    (State.UNHEALTHY, Event.UNANSWERED): State.UNHEALTHY,
    (State.UNHEALTHY, Event.EXITED): State.BACKOFF,
    (State.UNHEALTHY, Event.DRAIN): State.DRAINING,
    (State.UNHEALTHY, Event.STOP): State.DRAINING,
    (State.BACKOFF, Event.START): State.STARTING,
    (State.BACKOFF, Event.STOP): State.STOPPED,
    # A drained process is on its way out: what it answers no longer matters,
    # and when it goes it is not started again.
    (State.DRAINING, Event.ANSWERED): State.DRAINING,
    (State.DRAINING, Event.UNANSWERED): State.DRAINING,
    (State.DRAINING, Event.DRAIN): State.DRAINING,
    (State.DRAINING, Event.STOP): State.DRAINING,
    (State.DRAINING, Event.EXITED): State.STOPPED,
}

RUNNING = frozenset({State.STARTING, State.HEALTHY, State.UNHEALTHY, State.DRAINING})
"""States in which there is an operating system process."""

SERVING = frozenset({State.HEALTHY, State.UNHEALTHY})
"""States in which a replica stands in the gateway's endpoints: whether one that
misses our health check still gets traffic is for Envoy's own checks to say."""


def step(state: State, event: Event) -> State:
    """The state after `event`; raises IllegalStep where that can't be."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise IllegalStep(state, event) from None
