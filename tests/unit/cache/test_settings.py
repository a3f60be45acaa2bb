"""The cache's settings and the files that they name."""

from pathlib import Path

import pytest

from headrace.cache.keyfile import read_password, read_secret
from headrace.cache.settings import Settings
from headrace.runtime.settings import SettingsError

PREFIX = "HEADRACE_CACHE_"


def test_an_empty_environment_is_all_defaults() -> None:
    """Those that the README lists."""
    assert Settings.read({}) == Settings()


def test_no_store_is_said_by_an_empty_url() -> None:
    """Memory alone."""
    assert Settings.read({PREFIX + "REDIS": ""}).redis == ""


@pytest.mark.parametrize(
    "url", ["redis://cache@127.0.0.1:9250", "rediss://cache@example.org", "unix://cache@/run/valkey.sock"]
)
def test_these_stores_are_taken(url: str) -> None:
    """Over TCP, TLS or a Unix socket."""
    assert Settings.read({PREFIX + "REDIS": url}).redis == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1", "must be redis://"),
        ("redis://", "must be redis://"),
        ("redis://cache@host:99999", "is no URL"),
        ("redis://cache:hunter2@host", "must hold no password"),
        ("redis://host?password=hunter2", "must hold no password"),
    ],
)
def test_a_url_that_can_not_be_used_is_told_without_itself(url: str, says: str) -> None:
    """It may hold a password, and errors are logged."""
    with pytest.raises(SettingsError) as raised:
        Settings.read({PREFIX + "REDIS": url})
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_every_mistake_is_told_at_once() -> None:
    """Each in its line."""
    with pytest.raises(SettingsError) as raised:
        Settings.read({PREFIX + "TTL_S": "0", PREFIX + "MAX_ENTRIES": "many", PREFIX + "TYPO": "1"})
    assert len(raised.value.problems) == 3


def test_the_secret_is_a_file_of_enough_bytes(tmp_path: Path) -> None:
    """A missing or short one ends the start with the setting's name."""
    path = tmp_path / "cache.key"
    for content in (None, b"", bytes(31)):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SettingsError, match="X_KEY_FILE"):
            read_secret(path, "X_KEY_FILE")
    path.write_bytes(bytes(range(32)))
    assert read_secret(path, "X_KEY_FILE") == bytes(range(32))


def test_the_password_is_a_file_with_a_line(tmp_path: Path) -> None:
    """Without its end; no file is no password, a missing or unreadable one a mistake."""
    path = tmp_path / "password"
    assert read_password(None, "X") == ""
    with pytest.raises(SettingsError, match="X: can't read"):
        read_password(path, "X")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="it is no text"):
        read_password(path, "X")
    path.write_text("hunter2\n")
    assert read_password(path, "X") == "hunter2"
