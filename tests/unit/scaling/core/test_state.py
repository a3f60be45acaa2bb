"""The history of decisions: bounded, and without what says nothing new."""

from headrace.scaling.core.policy import Action, Cause, Decision
from headrace.scaling.core.state import KEPT, Entry, History


def decided(cause: Cause, before: int = 2, after: int = 2) -> Decision:
    action = Action.HOLD if after == before else Action.UP if after > before else Action.DOWN
    return Decision(action, cause, before, after, before)


def add(history: History, decision: Decision, time_ns: int, *, asked: bool = False) -> Entry | None:
    """The entry, kept; None where there is none."""
    entry = history.entry(decision, time_ns, asked=asked)
    if entry is not None:
        history.add(entry)
    return entry


def test_what_changed_something_is_kept() -> None:
    """Newest first, numbered in the order of time."""
    history = History()
    add(history, decided(Cause.OVERLOADED, 1, 2), 10)
    add(history, decided(Cause.IDLE, 2, 1), 20)
    assert [(entry.number, entry.time_ns) for entry in history.newest(5)] == [(2, 20), (1, 10)]
    assert [entry.number for entry in history.newest(1)] == [2]


def test_what_only_holds_is_not() -> None:
    """A decision each five seconds would push the others out."""
    history = History()
    for cause in (Cause.STEADY, Cause.PINNED, Cause.CHANGING, Cause.AUTO_OFF):
        assert add(history, decided(cause), 1) is None


def test_what_keeps_a_change_is_kept_once() -> None:
    """The cooldown is told when it begins to matter, not at each look."""
    history = History()
    causes = (Cause.COOLDOWN, Cause.COOLDOWN, Cause.STEADY, Cause.COOLDOWN)
    assert [add(history, decided(cause), 1) is not None for cause in causes] == [True, False, False, True]


def test_what_was_asked_for_is_kept() -> None:
    """An operator's number is in the history although it is the one that was."""
    assert add(History(), decided(Cause.PINNED), 1, asked=True) is not None


def test_the_history_is_bounded() -> None:
    """The oldest entries go; numbers go on, also in a history that was read."""
    history = History()
    for at in range(KEPT + 5):
        add(history, decided(Cause.OVERLOADED, 1, 2), at)
    again = History(history)
    assert len(list(again)) == KEPT
    add(again, decided(Cause.IDLE, 2, 1), 1)
    assert again.newest(1)[0].number == KEPT + 6
