"""What a process has used, on its disk."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headrace.metering.outbox import FILE_ROWS, Outbox
from headrace.metering.sweeper import orphaned
from tests.fakes.metering import event


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox(tmp_path, "replica-0", "abc", max_events=2 * FILE_ROWS)
    yield outbox
    outbox.close()


def write(outbox: Outbox, count: int) -> None:
    """Records so many events, which tell their place by their CPU time."""
    for _ in range(count):
        assert outbox.reserve()
        outbox.append(event(cpu_ns=outbox.written + 1), 1)


def test_rows_are_read_as_they_were_written(outbox: Outbox) -> None:
    """From any place on, up to the file's end."""
    write(outbox, 10)
    assert outbox.read(1, 4)["cpu_ns"].tolist() == [1, 2, 3, 4]
    assert outbox.read(9, 100)["cpu_ns"].tolist() == [9, 10]
    assert len(outbox.read(11, 100)) == 0
    assert outbox.names == [("acme", "linear", "1")]


def test_names_are_written_once(outbox: Outbox) -> None:
    """A row says which name is its own by a number."""
    for model in ("a", "b", "a"):
        outbox.reserve()
        outbox.append(event(model=model), 1)
    assert outbox.read(1, 3)["name"].tolist() == [1, 2, 1]
    assert (outbox.path / "names").read_bytes().rstrip(b"\0").count(b"\n") == 2


def test_a_full_outbox_takes_no_reservation(outbox: Outbox) -> None:
    """Room that is set aside is not given twice; what comes back can be given again."""
    for _ in range(2 * FILE_ROWS):
        assert outbox.reserve()
    assert not outbox.reserve()
    outbox.release()
    assert outbox.reserve()
    assert not outbox.reserve()


def test_work_that_is_done_finds_spare_room(outbox: Outbox) -> None:
    """A file beyond the bound, for what can't be refused any more; what can be is refused meanwhile and afterwards."""
    write(outbox, 2 * FILE_ROWS)
    assert not outbox.reserve()
    for _ in range(FILE_ROWS):
        assert outbox.reserve(spare=True)
        outbox.append(event(cpu_ns=outbox.written + 1), 1)
        assert not outbox.reserve()
    assert not outbox.reserve(spare=True)
    assert outbox.read(3 * FILE_ROWS, 9)["cpu_ns"].tolist() == [3 * FILE_ROWS]
    outbox.acknowledge(FILE_ROWS)
    assert not outbox.reserve()
    outbox.acknowledge(2 * FILE_ROWS)
    assert outbox.reserve()


def test_acknowledged_files_make_room(outbox: Outbox) -> None:
    """A file goes when all of its rows are confirmed, not earlier; numbers go on."""
    write(outbox, 2 * FILE_ROWS)
    assert not outbox.reserve()
    outbox.acknowledge(FILE_ROWS - 1)
    assert not outbox.reserve()
    outbox.acknowledge(FILE_ROWS)
    write(outbox, 1)
    assert outbox.read(2 * FILE_ROWS + 1, 9)["cpu_ns"].tolist() == [2 * FILE_ROWS + 1]
    assert sorted(path.name for path in outbox.path.glob("*.rows")) == [
        f"{FILE_ROWS + 1:020d}.rows",
        f"{2 * FILE_ROWS + 1:020d}.rows",
    ]


def test_a_read_ends_with_its_file(outbox: Outbox) -> None:
    """The next one goes on in the next file."""
    write(outbox, FILE_ROWS + 2)
    found = np.concatenate([outbox.read(FILE_ROWS, 9), outbox.read(FILE_ROWS + 1, 9)])
    assert found["cpu_ns"].tolist() == [FILE_ROWS, FILE_ROWS + 1, FILE_ROWS + 2]


def test_reserved_room_is_on_the_disk(outbox: Outbox) -> None:
    """It is allocated, not only promised: a disk that fills up later does not take it back."""
    outbox.reserve()
    (file,) = outbox.path.glob("*.rows")
    assert file.stat().st_blocks * 512 >= file.stat().st_size > 0


def test_a_disk_without_room_refuses_before_the_work(outbox: Outbox) -> None:
    """What could not be recorded is not begun; it goes on when there is room."""
    outbox.path.chmod(0o500)
    blocked = outbox.path / f"{1:020d}.rows"
    if os.geteuid() == 0:  # a superuser's writes ignore the mode: let the name be taken
        outbox.path.chmod(0o700)
        blocked.touch()
    assert not outbox.reserve()
    outbox.path.chmod(0o700)
    blocked.unlink(missing_ok=True)
    assert outbox.reserve()


def test_a_flush_is_due_only_after_a_write(outbox: Outbox) -> None:
    """Nothing is synchronised twice; the job survives files that are acknowledged meanwhile."""
    assert outbox.flush() is None
    write(outbox, FILE_ROWS)
    job = outbox.flush()
    assert job is not None
    assert outbox.flush() is None
    outbox.acknowledge(FILE_ROWS)
    job()


def test_an_empty_outbox_leaves_nothing(tmp_path: Path) -> None:
    """When everything is confirmed, its directory goes with its process."""
    outbox = Outbox(tmp_path, "r", "1", max_events=1)
    write(outbox, 3)
    outbox.acknowledge(3)
    outbox.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_pending_stays(tmp_path: Path) -> None:
    """Without its process the directory has no owner, and waits for the sweeper."""
    outbox = Outbox(tmp_path, "r", "1", max_events=1)
    write(outbox, 3)
    assert orphaned(tmp_path) == 0
    outbox.close()
    assert orphaned(tmp_path) == 1


@pytest.mark.parametrize("source", ["", "../x", "a/b", ".hidden", "x" * 101])
def test_a_source_names_no_path(tmp_path: Path, source: str) -> None:
    """Its name is part of a directory's."""
    with pytest.raises(ValueError, match="name of a source"):
        Outbox(tmp_path, source, "1", max_events=1)


def test_an_incarnation_is_one_processs(tmp_path: Path, outbox: Outbox) -> None:
    """A directory that is there is never taken over."""
    with pytest.raises(OSError, match=r"exist|not empty"):
        Outbox(tmp_path, "replica-0", "abc", max_events=1)
