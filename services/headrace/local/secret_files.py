"""What only this user may read besides the signing keys: made once, kept from then on."""

import secrets
from collections.abc import Callable
from pathlib import Path

from headrace.local import valkey
from headrace.local.statedir import StateDir, write_atomically

CACHE_KEY_BYTES = 32
PASSWORD_BYTES = 32
PRIVATE = 0o600


def ensure_secrets(state: StateDir) -> None:
    """Writes the cache's key and Valkey's password where there are none; both 0600.

    The cache's key stays the same over restarts: entries that another Redis
    still holds are found by it.
    """
    _ensure(state.cache_key, lambda: secrets.token_bytes(CACHE_KEY_BYTES))
    _ensure(state.valkey_password, lambda: secrets.token_urlsafe(PASSWORD_BYTES).encode())


def write_valkey(state: StateDir, port: int) -> Path:
    """Writes valkey.conf, which is returned, and the rights of Valkey's one user; both 0600."""
    config, acl = state.valkey / "valkey.conf", state.valkey / "users.acl"
    write_atomically(acl, valkey.acl(state.valkey_password.read_text()).encode())
    write_atomically(config, valkey.valkey_config(port, state.valkey, acl).encode())
    return config


def _ensure(path: Path, make: Callable[[], bytes]) -> None:
    if not path.exists() or not path.stat().st_size:
        write_atomically(path, make())
    path.chmod(PRIVATE)
