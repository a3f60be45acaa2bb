"""Secrets beside the signing keys: made once, and nobody else's to read."""

import stat
from pathlib import Path

from headrace.local.secret_files import ensure_secrets, write_valkey
from headrace.local.statedir import StateDir, prepare


def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / "s")
    prepare(made)
    ensure_secrets(made)
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_for_this_user_alone(tmp_path: Path) -> None:
    """The cache's key has 32 bytes, the password is text; both can be read by their owner only."""
    made = state(tmp_path)
    assert len(made.cache_key.read_bytes()) == 32
    assert made.valkey_password.read_text().isascii()
    assert {mode(made.cache_key), mode(made.valkey_password)} == {0o600}


def test_kept(tmp_path: Path) -> None:
    """A second start finds the same secrets, and closes what somebody opened."""
    made = state(tmp_path)
    before = made.cache_key.read_bytes(), made.valkey_password.read_bytes()
    made.cache_key.chmod(0o644)
    ensure_secrets(made)
    assert (made.cache_key.read_bytes(), made.valkey_password.read_bytes()) == before
    assert mode(made.cache_key) == 0o600


def test_made_anew_where_half_a_start_left_nothing(tmp_path: Path) -> None:
    """An empty file is no key."""
    made = state(tmp_path)
    made.cache_key.write_bytes(b"")
    ensure_secrets(made)
    assert len(made.cache_key.read_bytes()) == 32


def test_valkey_files(tmp_path: Path) -> None:
    """Both files are private, and neither holds the password itself."""
    made = state(tmp_path)
    config = write_valkey(made, 9250)
    acl = made.valkey / "users.acl"
    assert {mode(config), mode(acl)} == {0o600}
    assert f'aclfile "{acl}"' in config.read_text()
    assert made.valkey_password.read_text() not in config.read_text() + acl.read_text()
