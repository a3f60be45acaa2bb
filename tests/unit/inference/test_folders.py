"""What a repository on disk may hold."""

import os
from pathlib import Path

import pytest

from headrace.inference.folders import Repository, RepositoryError
from tests.support.small import write_scale


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with `scale`, and beside it a file that is nobody's business."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "models").mkdir()
    write_scale(tmp_path / "models")
    return tmp_path / "models"


def refused(root: Path, words: str, name: str = "scale") -> None:
    with pytest.raises(RepositoryError, match=words) as error:
        Repository(root).files(name)
    assert str(root) not in str(error.value)


def test_a_model_is_a_folder_with_a_configuration_or_a_version(root: Path) -> None:
    """Others, and our own entries, are no models."""
    (root / "configured").mkdir()
    (root / "configured" / "config.pbtxt").touch()
    (root / "empty" / "latest").mkdir(parents=True)
    (root / ".headrace-staging-1" / "1").mkdir(parents=True)
    (root / "file").touch()
    assert Repository(root).names() == ["configured", "scale"]
    assert Repository(root / "absent").names() == []


def test_files_are_all_of_a_model_and_sorted_by_version(root: Path) -> None:
    """Below the version's folder, at any depth."""
    (root / "scale" / "1" / "deep").mkdir()
    (root / "scale" / "1" / "deep" / "data").touch()
    files = Repository(root).files("scale")
    assert [str(one.relative_to(root)) for one in files.of_version("1")] == [
        "scale/1/deep/data",
        "scale/1/model.onnx",
    ]


@pytest.mark.parametrize("name", ["../secret", "..", "scale/", "/etc", " ..", "a\0b"])
def test_a_name_never_leads_out(root: Path, name: str) -> None:
    """It is refused before the file system is asked."""
    refused(root, "expected", name)
    assert not Repository(root).has(name)


def test_a_link_to_a_file_outside_is_refused(root: Path) -> None:
    """By its target, through any number of links."""
    (root / "scale" / "1" / "data").symlink_to(root / "scale" / "1" / "more")
    (root / "scale" / "1" / "more").symlink_to(root.parent / "secret.txt")
    refused(root, r"scale/1/data: leads out")


def test_a_link_to_a_folder_outside_is_refused(root: Path) -> None:
    """A version, or the model itself."""
    (root / "scale" / "2").symlink_to(root.parent)
    refused(root, r"scale/2: leads out")
    (root / "linked").symlink_to(root.parent)
    refused(root, r"linked: leads out", "linked")


def test_a_hard_link_from_outside_is_refused(root: Path) -> None:
    """The same file under another name elsewhere; one inside the repository is none."""
    (root / "scale" / "1" / "copy").hardlink_to(root / "scale" / "1" / "model.onnx")
    Repository(root).files("scale")
    (root / "scale" / "1" / "data").hardlink_to(root.parent / "secret.txt")
    refused(root, r"scale/1/data: has another name outside")


def test_links_inside_the_repository_are_followed(root: Path) -> None:
    """A version may be another one's folder; a link to a folder above itself ends."""
    (root / "scale" / "2").symlink_to(root / "scale" / "1")
    (root / "scale" / "1" / "loop").symlink_to(root / "scale")
    assert Repository(root).files("scale").files
    assert Repository(root).versions("scale") == [1, 2]


def test_what_is_no_file_is_refused(root: Path) -> None:
    """Opening a pipe would never return; a link to nothing can't be read."""
    os.mkfifo(root / "scale" / "1" / "pipe")
    refused(root, r"scale/1/pipe: is no regular file")
    (root / "scale" / "1" / "pipe").unlink()
    (root / "scale" / "1" / "gone").symlink_to(root / "scale" / "1" / "nothing")
    refused(root, r"scale/1/gone: can't be read")


def test_a_version_is_bounded(root: Path) -> None:
    """Its bytes, each version by itself: at the limit it is served, beyond it not."""
    size = (root / "scale" / "1" / "model.onnx").stat().st_size
    assert Repository(root, size).files("scale").files
    with pytest.raises(RepositoryError, match=rf"scale/1: expected at most {size - 1} bytes, got {size}"):
        Repository(root, size - 1).files("scale")


def test_the_fingerprint_changes_with_any_file(root: Path) -> None:
    """Its content's size, its time, its name."""
    repository = Repository(root)
    before = repository.fingerprint("scale")
    assert repository.fingerprint("scale") == before
    os.utime(root / "scale" / "1" / "model.onnx", ns=(0, 1))
    touched = repository.fingerprint("scale")
    (root / "scale" / "config.pbtxt").touch()
    assert len({before, touched, repository.fingerprint("scale")}) == 3
