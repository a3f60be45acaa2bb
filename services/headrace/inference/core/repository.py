"""What a model repository may hold and what of it is served: names, versions, states. In Triton's words."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_NAME_BYTES = 255
"""Of a model's name: what a file system takes for a folder."""

OURS = ".headrace-"
"""What the names of our own entries of a repository begin with."""

VERSION = re.compile(r"[1-9][0-9]{0,17}")


def name_problem(name: str) -> str:
    """What is wrong with a model's name; empty when nothing is.

    A name is one folder of the repository, never a way out of it.
    """
    if not name:
        return "expected a name, got none"
    if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        return f"expected at most {MAX_NAME_BYTES} bytes"
    if any(character in "/\\\x7f" or character < " " for character in name):
        return "expected no slash, backslash or control character"
    if name.strip() != name or name in (".", ".."):
        return "expected the name of a folder, without blanks around it"
    if name.startswith(OURS):
        return f"names that begin with {OURS!r} are no models"
    return ""


def versions_of(names: Iterable[str]) -> list[int]:
    """The versions among a model's folders, ascending; others are no versions (Triton: nor is `01`)."""
    return sorted(int(name) for name in names if VERSION.fullmatch(name))


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """Which versions of a model serve: the `latest` ones, the `specific` ones, or all of them."""

    latest: int = 1
    specific: tuple[int, ...] = ()
    every: bool = False

    def choose(self, available: list[int]) -> list[int]:
        """Of the versions there are, ascending, those that serve."""
        if self.every:
            return available
        if self.specific:
            return [version for version in available if version in self.specific]
        return available[-self.latest :]


class State(StrEnum):
    """A version's state, as RepositoryIndex tells it."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


class Event(StrEnum):
    """What happens to a version."""

    LOAD = "load"
    LOADED = "loaded"
    FAILED = "failed"
    UNLOAD = "unload"
    DRAINED = "drained"


STEPS: Mapping[tuple[State, Event], State] = {
    (State.UNAVAILABLE, Event.LOAD): State.LOADING,
    (State.UNLOADING, Event.LOAD): State.LOADING,
    (State.READY, Event.LOAD): State.READY,  # what is there serves until the new one does
    (State.LOADING, Event.LOADED): State.READY,
    (State.READY, Event.LOADED): State.READY,
    (State.LOADING, Event.FAILED): State.UNAVAILABLE,
    (State.READY, Event.FAILED): State.READY,  # and goes on serving
    (State.READY, Event.UNLOAD): State.UNLOADING,
    (State.UNLOADING, Event.DRAINED): State.UNAVAILABLE,
}
"""What is not in the table changes nothing."""

UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class Entry:
    """A version's state, and why it is that; `version` is empty where none is known."""

    version: str
    state: State
    reason: str = ""

    def after(self, event: Event, reason: str = "") -> "Entry":
        """The entry after an event."""
        state = STEPS.get((self.state, event))
        return self if state is None else Entry(self.version, state, reason)


class Index:
    """The state of every version of every model that is, was or should be loaded."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, Entry]] = {}
        self._wanted: set[str] = set()

    def entries(self, name: str) -> list[Entry]:
        """The model's versions; empty for one that was never loaded."""
        return list(self._models.get(name, {}).values())

    def names(self) -> list[str]:
        """Every model that has entries, sorted."""
        return sorted(self._models)

    def loading(self, name: str) -> None:
        """A load begins: what serves is left alone."""
        self._wanted.add(name)
        entries = self._models.setdefault(name, {"": Entry("", State.UNAVAILABLE)})
        self._models[name] = {version: entry.after(Event.LOAD) for version, entry in entries.items()}

    def loaded(self, name: str, versions: Iterable[str]) -> None:
        """These versions serve from now on; others of the model that served are on their way out."""
        self._wanted.add(name)
        before = self._models.get(name, {})
        kept = {version: entry.after(Event.UNLOAD) for version, entry in before.items() if version}
        ready = {version: Entry(version, State.READY) for version in versions}
        self._models[name] = {
            **{version: entry for version, entry in kept.items() if entry.state is not State.LOADING},
            **ready,
        }

    def failed(self, name: str, reason: str) -> None:
        """A load failed: what serves goes on, and says why it is not the new one."""
        entries = self._models.get(name, {})
        self._models[name] = {
            version: entry.after(Event.FAILED, reason) for version, entry in entries.items()
        }

    def unloading(self, name: str) -> None:
        """The model serves no longer; what is in flight is answered."""
        self._wanted.discard(name)
        entries = self._models.get(name, {})
        self._models[name] = {version: entry.after(Event.UNLOAD) for version, entry in entries.items()}

    def suspended(self, name: str, reason: str) -> None:
        """The model is whole and serves no longer until what it stands on does; it is not wanted so long."""
        self._wanted.discard(name)
        entries = self._models.get(name, {})
        self._models[name] = {
            version: Entry(version, State.UNAVAILABLE, reason)
            if entry.state is State.READY or (entry.state is State.UNAVAILABLE and entry.reason != UNLOADED)
            else entry
            for version, entry in entries.items()
        }

    def drained(self, name: str, version: str) -> None:
        """Nothing of the version is in flight any more."""
        entry = self._models.get(name, {}).get(version)
        if entry is not None:
            self._models[name][version] = entry.after(Event.DRAINED, UNLOADED)

    def forget(self, name: str) -> None:
        """The model is not in the repository any more."""
        self._models.pop(name, None)
        self._wanted.discard(name)

    def failures(self) -> list[str]:
        """Models that should serve and don't."""
        return sorted(name for name in self._wanted if self.state(name) is State.UNAVAILABLE)

    def state(self, name: str) -> State | None:
        """The best state among the model's versions; None for one that was never loaded."""
        states = {entry.state for entry in self.entries(name)}
        return next((state for state in PREFERRED if state in states), None)


PREFERRED = (State.READY, State.LOADING, State.UNLOADING, State.UNAVAILABLE)
