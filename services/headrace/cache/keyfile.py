"""Files that hold a secret, read when a process starts."""

from pathlib import Path

from headrace.cache.core.keys import KEY_BYTES
from headrace.runtime.settings import SettingsError


def read_secret(path: Path, setting: str) -> bytes:
    """The bytes of the file that `setting` names; raises SettingsError when they are missing or too few."""
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{setting}: can't read {path}: {error.strerror}"]) from None
    if len(secret) < KEY_BYTES:
        raise SettingsError([f"{setting}: {path} must hold {KEY_BYTES} random bytes or more"])
    return secret


def read_password(path: Path | None, setting: str) -> str:
    """The password in the file, without the line's end; empty without a file. Raises SettingsError."""
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError([f"{setting}: can't read {path}: {why}"]) from None
