"""Digests of files: each its own file's, whatever was remembered, by whom, and whatever stands there."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from headrace.inference.digests import COARSE_NS, FINE_NS, LARGE, MOST, SECOND_NS, FileDigests, settled

HOUR_NS = 3_600_000_000_000


def later() -> int:
    """An hour from now: whatever was written in this test has settled."""
    return time.time_ns() + HOUR_NS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is large enough to be remembered."""
    file = tmp_path / "model.onnx.data"
    file.write_bytes(bytes(LARGE))
    return file


@pytest.fixture
def remembered(tmp_path: Path) -> Path:
    return tmp_path / "control" / "digests.json"


def of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def test_what_one_has_read_another_knows(file: Path, remembered: Path) -> None:
    """The second one reads nothing: it tells what stands there. And what they share is its owner's alone."""
    assert FileDigests(remembered, later).of(file) == of(bytes(LARGE))
    assert [path.stat().st_mode & 0o777 for path in (remembered.parent, remembered)] == [0o700, 0o600]
    told = remembered.read_text().replace(of(bytes(LARGE)).hex(), of(b"another").hex())
    remembered.write_text(told)
    assert FileDigests(remembered, later).of(file) == of(b"another")


@pytest.mark.parametrize("change", ["content", "size", "replaced", "times set back"])
def test_what_has_changed_is_read_again(file: Path, remembered: Path, change: str) -> None:
    """Also when whoever changed it says that nothing did: the inode's own time is the kernel's."""
    told = FileDigests(remembered, later)
    told.of(file)
    before = file.stat()
    content = b"x" * (LARGE + (change == "size"))
    if change == "replaced":
        (new := file.with_name("new")).write_bytes(content)
        new.replace(file)
    else:
        with file.open("r+b") as stream:
            stream.write(content)
    if change != "content":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert told.of(file) == of(content)


def test_what_changed_a_moment_ago_is_not_remembered(file: Path, remembered: Path) -> None:
    """The next change could have the same time."""
    FileDigests(remembered).of(file)
    assert not remembered.exists()
    FileDigests(remembered, lambda: file.stat().st_ctime_ns + FINE_NS).of(file)
    assert not remembered.exists()
    FileDigests(remembered, lambda: file.stat().st_ctime_ns + FINE_NS + 1).of(file)
    assert remembered.exists()


def test_a_file_system_that_tells_seconds_has_to_be_waited_for() -> None:
    """It may tell every second one only."""
    coarse, fine = 7 * SECOND_NS, 7 * SECOND_NS + 4_000_000
    assert not settled((1, 2, 3, coarse, coarse), coarse + COARSE_NS)
    assert settled((1, 2, 3, coarse, coarse), coarse + COARSE_NS + 1)
    for one in ((1, 2, 3, coarse, fine), (1, 2, 3, fine, coarse)):
        assert not settled(one, fine + FINE_NS)
        assert settled(one, fine + FINE_NS + 1)


def test_what_changes_while_it_is_read_is_not_remembered(file: Path, remembered: Path) -> None:
    """Nobody knows which of the two contents the digest is of."""

    def changed_meanwhile() -> int:
        with file.open("ab") as stream:
            stream.write(b"x")
        return later()

    FileDigests(remembered, changed_meanwhile).of(file)
    assert not remembered.exists()


def test_small_files_are_read(file: Path, remembered: Path) -> None:
    """And nothing at all is remembered by who shares with nobody."""
    file.write_bytes(b"small")
    assert FileDigests(remembered, later).of(file) == of(b"small")
    assert not remembered.exists()
    file.write_bytes(bytes(LARGE))
    assert FileDigests(None, later).of(file) == of(bytes(LARGE))


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[1]", b'[{"identity": [1, 2, 3, 4, 5], "digest": "zz"}]', b"[" * 100_000]
)
def test_what_is_no_list_of_digests_is_none(file: Path, remembered: Path, content: bytes) -> None:
    """It is written anew."""
    remembered.parent.mkdir()
    remembered.write_bytes(content)
    assert FileDigests(remembered, later).of(file) == of(bytes(LARGE))
    assert remembered.read_bytes() != content


def test_a_place_that_can_not_be_written_costs_nothing_else(file: Path, tmp_path: Path) -> None:
    """The digest is told all the same."""
    (tmp_path / "taken").write_bytes(b"")
    assert FileDigests(tmp_path / "taken" / "digests.json", later).of(file) == of(bytes(LARGE))


def test_a_bounded_number_is_remembered(file: Path, remembered: Path) -> None:
    """The latest, each file once."""
    told = FileDigests(remembered, later)
    files = [file.with_name(str(number)) for number in range(MOST + 3)]
    for one in files:
        one.touch()
        os.truncate(one, LARGE)
        told.of(one)
    os.truncate(files[-1], LARGE + 1)
    told.of(files[-1])
    inodes = [one["identity"][1] for one in json.loads(remembered.read_bytes())]
    assert inodes == [one.stat().st_ino for one in files[3:]]
    assert [one.name for one in remembered.parent.iterdir()] == ["digests.json"]
