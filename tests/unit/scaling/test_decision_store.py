"""What is decided is on the disk, whole, and read again as it was."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.scaling.core.conditions import Reading, Threshold
from headrace.scaling.core.policy import Action, Cause, Decision
from headrace.scaling.core.signals import Signal
from headrace.scaling.core.state import Entry
from headrace.scaling.decision_store import FILE, DecisionStore, Kept
from headrace.scaling.decision_wire import entry_message, entry_of

SIZES = st.floats(0.0, 1e6)
READINGS = st.builds(
    Reading,
    st.sampled_from(Signal),
    SIZES,
    st.one_of(st.none(), st.builds(Threshold, st.floats(0.1, 1e6), SIZES)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000),
)
DECISIONS = st.builds(
    Decision,
    st.sampled_from(Action),
    st.sampled_from(Cause),
    st.integers(0, 64),
    st.integers(0, 64),
    st.integers(0, 64),
    st.lists(READINGS, max_size=6).map(tuple),
    st.lists(st.sampled_from(["gpu", "inference-1"]), max_size=2).map(tuple),
)
ENTRIES = st.builds(Entry, st.integers(0, 2**40), st.integers(0, 2**62), DECISIONS)
ENTRY = Entry(
    3,
    1_790_000_000_123_456_789,
    Decision(
        Action.UP,
        Cause.OVERLOADED,
        1,
        2,
        1,
        (Reading(Signal.CPU, 0.83, Threshold(0.7, 0.3), over=True, under=False, for_s=34.0),),
    ),
)


@given(ENTRIES)
def test_a_decision_is_the_same_after_the_wire(entry: Entry) -> None:
    """Every field there and back."""
    assert entry_of(entry_message(entry)) == entry


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    """By the next process; the file is its owner's alone."""
    kept = Kept(4, pinned=True, configured=2, history=(ENTRY,))
    store = DecisionStore(tmp_path)
    assert store.open() is None
    store.save(kept)
    assert DecisionStore(tmp_path).open() == kept
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": 2}',
        '{"version": 1}',
        '{"version": 1, "replicas": "x", "pinned": true, "configured": 1, "history": []}',
        '{"version": 1, "replicas": 1, "pinned": true, "configured": 1, "history": [{"cause": "CAUSE_MOON"}]}',
        '{"version": 1, "replicas": 1, "pinned": true, "configured": 1, "history": [{}]}',
        "\x00\xff",
    ],
)
def test_what_can_not_be_read_is_set_aside(tmp_path: Path, text: str) -> None:
    """Scaling starts all the same, from the configured number; the file is kept for whoever wants to look."""
    (tmp_path / FILE).write_bytes(text.encode("latin-1"))
    store = DecisionStore(tmp_path)
    assert store.open() is None
    assert (tmp_path / "decisions.unreadable").read_bytes() == text.encode("latin-1")
    store.save(Kept(1, pinned=False, configured=1))
    assert store.open() == Kept(1, pinned=False, configured=1)


def test_half_a_file_replaces_nothing(tmp_path: Path) -> None:
    """A process that dies while it writes leaves the last whole file."""
    store = DecisionStore(tmp_path)
    store.save(Kept(4, pinned=True, configured=2))
    (tmp_path / f"{FILE}.new").write_text('{"version": 1, "repl')
    assert store.open() == Kept(4, pinned=True, configured=2)
    assert json.loads((tmp_path / FILE).read_text())["replicas"] == 4
