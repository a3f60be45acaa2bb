"""The table of a process's states."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.local.core.lifecycle import RUNNING, SERVING, TABLE, Event, IllegalStep, State, step
from headrace.local.v1.process_pb2 import ProcessState


def walk(events: list[Event]) -> list[State]:
    """The states that a new process goes through; events that can't happen are left out."""
    states = [State.STOPPED]
    for event in events:
        if (states[-1], event) in TABLE:
            states.append(step(states[-1], event))
    return states


def test_states_of_the_contract() -> None:
    """Every state has its name in the contract, and the contract no other."""
    names = {f"PROCESS_STATE_{state.name}" for state in State}
    assert names == set(ProcessState.keys()) - {"PROCESS_STATE_UNSPECIFIED"}


@pytest.mark.parametrize(
    ("state", "event"), [(state, event) for state in State for event in Event if (state, event) not in TABLE]
)
def test_refused(state: State, event: Event) -> None:
    """What the table lacks is refused, with state and event."""
    with pytest.raises(IllegalStep) as caught:
        step(state, event)
    assert (caught.value.state, caught.value.event) == (state, event)


@pytest.mark.parametrize("state", State)
def test_can_be_stopped(state: State) -> None:
    """Whatever state a process is in, it can be told to stop."""
    assert step(state, Event.STOP) in (State.DRAINING, State.STOPPED)


@pytest.mark.parametrize("state", [state for state in State if state in RUNNING])
def test_every_running_process_may_end(state: State) -> None:
    """A process may go at any time, and then nothing runs."""
    assert step(state, Event.EXITED) not in RUNNING


@given(st.lists(st.sampled_from(Event)))
def test_a_stop_is_final(events: list[Event]) -> None:
    """After STOP only START brings a process back: it never serves again, and never waits to be restarted."""
    after = walk([*events, Event.STOP, *(event for event in events if event is not Event.START)])
    stopped = len(walk([*events, Event.STOP])) - 1
    assert set(after[stopped:]) <= {State.DRAINING, State.STOPPED}


@given(st.lists(st.sampled_from(Event)))
def test_serves_only_after_an_answer(events: list[Event]) -> None:
    """A process gets into the gateway's endpoints by answering a health check, and in no other way."""
    states = walk(events)
    for before, now in pairwise(states):
        if now in SERVING and before not in SERVING:
            assert before is State.STARTING
            assert TABLE[before, Event.ANSWERED] is now
