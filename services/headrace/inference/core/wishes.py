"""What the replicas of a mesh were asked to do, and which of it one of them has not done yet."""

from collections.abc import Mapping

import msgspec


class Wish(msgspec.Struct, frozen=True):
    """What is wanted of one thing since `revision`."""

    revision: int
    value: str


class Wishes(msgspec.Struct, frozen=True):
    """All that is wanted; `revision` counts the changes."""

    revision: int = 0
    wanted: dict[str, Wish] = {}

    def changed(self, key: str, value: str) -> "Wishes":
        """With one more wish, in place of what was wanted of the same thing."""
        following = self.revision + 1
        return Wishes(following, {**self.wanted, key: Wish(following, value)})

    def unseen(self, done: Mapping[str, int]) -> list[tuple[str, Wish]]:
        """Wishes later than those that are `done`, in their order."""
        found = [(key, wish) for key, wish in self.wanted.items() if wish.revision > done.get(key, 0)]
        return sorted(found, key=lambda item: item[1].revision)


class Acknowledgement(msgspec.Struct, frozen=True):
    """How far one replica is, and what it could not do."""

    revision: int = 0
    problems: dict[str, str] = {}
