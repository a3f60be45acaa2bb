"""What outlives the guard."""

import stat
from pathlib import Path

import pytest

from headrace.guard.store import Store
from headrace.runtime.settings import SettingsError


def test_what_was_saved_is_found(tmp_path: Path) -> None:
    """By the next process; the first one finds nothing."""
    folder = tmp_path / "guard"
    store = Store(folder)
    assert store.open() == ({}, [])
    store.save_revoked({"a": 100})
    store.save_revoked({"a": 100, "b": 200})
    store.save_holders({"r2", "r1"})
    assert Store(folder).open() == ({"a": 100, "b": 200}, ["r1", "r2"])


def test_only_its_owner_may_read(tmp_path: Path) -> None:
    """The directory is 0700 and each file 0600."""
    folder = tmp_path / "guard"
    store = Store(folder)
    store.open()
    store.save_revoked({"a": 100})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 2, "entries": {}}', '{"version": 1, "entries": [5]}']
)
def test_a_damaged_list_of_revoked_tokens_is_no_empty_one(tmp_path: Path, text: str) -> None:
    """The guard must not start and let revoked tokens in; the message names the file."""
    (tmp_path / "revoked.json").write_text(text)
    with pytest.raises(SettingsError, match=r"HEADRACE_GUARD_STORE: .*revoked\.json can't be read"):
        Store(tmp_path).open()


def test_a_damaged_list_of_holders_is_an_empty_one(tmp_path: Path) -> None:
    """They tell what they have when they come."""
    (tmp_path / "holders.json").write_text("{")
    assert Store(tmp_path).open() == ({}, [])


def test_a_write_that_was_cut_off_leaves_the_old_list(tmp_path: Path) -> None:
    """The new one takes its place only when it is whole."""
    store = Store(tmp_path)
    store.save_revoked({"a": 100})
    (tmp_path / "revoked.json.new").write_text('{"version": 1, "entr')
    assert Store(tmp_path).open()[0] == {"a": 100}
    store.save_revoked({"b": 200})
    assert Store(tmp_path).open()[0] == {"b": 200}
