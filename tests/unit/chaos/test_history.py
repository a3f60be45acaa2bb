"""The file that a run writes."""

from pathlib import Path

import msgspec
import pytest

from tests.chaos.history import (
    Acknowledged,
    FaultBegun,
    FaultEnded,
    Happening,
    History,
    Invoked,
    Refused,
    read,
)

HAPPENINGS: list[Happening] = [
    FaultBegun(0.5, 1, "kill guard", ["guard"]),
    Invoked(1.0, 0, "acme", "linear", "grpc", "", [1.5]),
    Acknowledged(2.0, 0, [1.5], "0", 70, "id", "near", "inference-0"),
    Invoked(2.5, 1, "acme", "linear", "rest", "key", []),
    Refused(3.0, 1, "UNAVAILABLE", "nobody there", ""),
    FaultEnded(4.0, 1),
]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every kind of line comes back as it was, in its order, and answers and refusals are counted."""
    with History(tmp_path / "history.jsonl", lambda: 0.0) as history:
        for happening in HAPPENINGS:
            history.write(happening)
        assert (
            list(read(tmp_path / "history.jsonl")) == HAPPENINGS
        )  # before it is closed: a crash loses nothing
    assert (history.answered, history.refused) == (1, 1)


def test_a_history_is_written_once(tmp_path: Path) -> None:
    """A file that is there is not written over."""
    (tmp_path / "history.jsonl").touch()
    with pytest.raises(FileExistsError):
        History(tmp_path / "history.jsonl", lambda: 0.0)


def test_time_counts_from_the_begin(tmp_path: Path) -> None:
    """`now` is in seconds since the history began."""
    times = iter([100.0, 103.5])
    with History(tmp_path / "history.jsonl", lambda: next(times)) as history:
        assert history.now == 3.5


def test_a_line_that_is_none(tmp_path: Path) -> None:
    """A line that nobody of ours wrote is refused."""
    (tmp_path / "history.jsonl").write_text('{"type": "invented"}\n')
    with pytest.raises(msgspec.ValidationError):
        list(read(tmp_path / "history.jsonl"))


def test_a_fault_is_a_block(tmp_path: Path) -> None:
    """A fault is written down before its block and behind it, under a number of its own."""
    with History(tmp_path / "history.jsonl", lambda: 0.0) as history:
        for kind in ("kill guard", "kill cache"):
            with history.fault(kind, [kind]):
                history.write(FaultEnded(0.0, 9))
    begun = [
        FaultBegun(0.0, 1, "kill guard", ["kill guard"]),
        FaultBegun(0.0, 2, "kill cache", ["kill cache"]),
    ]
    marker = FaultEnded(0.0, 9)
    lines = list(read(tmp_path / "history.jsonl"))
    assert lines == [begun[0], marker, FaultEnded(0.0, 1), begun[1], marker, FaultEnded(0.0, 2)]
