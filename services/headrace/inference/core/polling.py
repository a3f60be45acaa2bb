"""Which models to load again after a look at the repository."""

from collections.abc import Mapping
from dataclasses import dataclass

Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed: models to load or load again, models that are gone."""

    load: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class Polling:
    """Compares what is in the repository with what was there at the last two looks.

    A model whose files have changed is loaded when two looks in a row saw the
    same: a folder that is still being written is left alone.
    """

    def __init__(self, loaded: Mapping[str, Fingerprint]) -> None:
        self._loaded = dict(loaded)
        self._seen = dict(loaded)

    def look(self, found: Mapping[str, Fingerprint]) -> Changes:
        """What to do after seeing `found`; each model's turn comes once for each change, failed or not."""
        settled = [
            name
            for name, fingerprint in found.items()
            if self._seen.get(name) == fingerprint and self._loaded.get(name) != fingerprint
        ]
        gone = [name for name in self._loaded if name not in found and name not in self._seen]
        self._seen = dict(found)
        self._loaded.update({name: found[name] for name in settled})
        for name in gone:
            del self._loaded[name]
        return Changes(tuple(sorted(settled)), tuple(sorted(gone)))
