"""What must outlive the guard: revoked tokens, and who held leases. Two small files, each replaced whole."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from headrace.runtime.settings import SettingsError

REVOKED, HOLDERS = "revoked.json", "holders.json"
VERSION = 1


class Store:
    """A directory of this user's. Every method blocks; the loop calls them in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> tuple[dict[str, int], list[str]]:
        """The revoked tokens, each with its expiry in seconds since 1970, and the holders.

        Raises SettingsError for a list of revoked tokens that can't be read: to
        go on without it would let revoked tokens in.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            revoked = self._read(REVOKED)
            tokens = {str(token): int(expires) for token, expires in revoked.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            where = self._folder / REVOKED
            raise SettingsError(
                [
                    f"HEADRACE_GUARD_STORE: {where} can't be read ({type(error).__name__}): restore it or remove it"
                ]
            ) from None
        return tokens, self._holders()

    def save_revoked(self, tokens: Mapping[str, int]) -> None:
        """The tokens are on the disk when this returns; raises OSError."""
        self._replace(REVOKED, dict(tokens), durable=True)

    def save_holders(self, holders: Iterable[str]) -> None:
        """Raises OSError. Not synced: it matters to a guard that is restarted, not to a machine that is."""
        self._replace(HOLDERS, dict.fromkeys(sorted(holders), 0), durable=False)

    def _holders(self) -> list[str]:
        try:
            return [str(holder) for holder in self._read(HOLDERS)]
        except (OSError, ValueError, TypeError, AttributeError):
            return []  # as after a first start: holders tell what they have

    def _read(self, name: str) -> Mapping[str, int]:
        path = self._folder / name
        if not path.exists():
            return {}
        whole = json.loads(path.read_text())
        if whole.get("version") != VERSION:
            raise ValueError("another version")
        entries: dict[str, int] = whole["entries"]
        return entries

    def _replace(self, name: str, entries: Mapping[str, int], *, durable: bool) -> None:
        fresh = self._folder / f"{name}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"version": VERSION, "entries": entries}, file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.replace(self._folder / name)
        if durable:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)  # or the new name may be lost with the power
            finally:
                os.close(folder)
