"""One gateway's side of the discovery protocol (xDS, state of the world): what to send it, what it has taken.

A response is answered by a request that carries its nonce: taken, or refused
with a reason. One response at a time is under way, always with the newest
version; a request that carries an older nonce has been overtaken and says
nothing.
"""

from dataclasses import dataclass

NOTHING = -1
"""A version below every other."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the gateway's. `nonce` is empty in a stream's first one."""

    names: frozenset[str]
    nonce: str = ""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A response to send: these resources, of this version."""

    version: int
    nonce: str
    names: frozenset[str]


class Subscription:
    """The state of one stream. Versions grow; `taken` and `refused` are the newest of each kind."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.taken = NOTHING
        self.refused = NOTHING
        self._sent = 0
        self._version = NOTHING
        self._under_way = False
        self._wants = False

    def hear(self, request: Request) -> None:
        """A request came."""
        if request.nonce != self._nonce():
            return
        if self._under_way:
            self._under_way = False
            if request.refused:
                self.refused = self._version
            else:
                self.taken = self._version
        # Other resources are wanted: they are sent although the version is known.
        self._wants = self._wants or request.names != self.names
        self.names = request.names

    def next(self, version: int | None) -> Offer | None:
        """What to send while `version` is the newest (None: there is none yet); None: nothing."""
        if version is None or self._under_way or not self.names:
            return None
        if version == self._version and not self._wants:
            return None
        self._sent += 1
        self._version, self._under_way, self._wants = version, True, False
        return Offer(version, self._nonce(), self.names)

    def knows(self, version: int) -> bool:
        """Whether the gateway has taken `version` or a later one, or asks for nothing."""
        return not self.names or self.taken >= version

    def _nonce(self) -> str:
        return str(self._sent) if self._sent else ""
