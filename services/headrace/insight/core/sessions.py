"""Who was let in to the web page: links that are good once, and what they are exchanged for.

Only digests of secrets are kept. Bounded: the oldest make room.
"""

from collections import OrderedDict
from hashlib import sha256

from headrace.runtime.rpc import Caller

LINK_S, SESSION_S = 60.0, 8 * 3600.0
MOST_LINKS, MOST_SESSIONS = 64, 256


class Sessions:
    """Links and sessions, each of the caller whose token asked for it."""

    def __init__(self) -> None:
        self._links = _Bounded(MOST_LINKS)
        self._sessions = _Bounded(MOST_SESSIONS)

    def link(self, secret: str, caller: Caller, now: float) -> None:
        """Whoever shows the secret within `LINK_S` seconds is this caller, once."""
        self._links.put(secret, caller, now + LINK_S)

    def redeem(self, secret: str, now: float) -> Caller | None:
        """The link's caller; the link is used up."""
        return self._links.take(secret, now)

    def begin(self, secret: str, caller: Caller, now: float) -> None:
        """Whoever shows the secret within `SESSION_S` seconds is this caller."""
        self._sessions.put(secret, caller, now + SESSION_S)

    def find(self, secret: str, now: float) -> Caller | None:
        """The session's caller."""
        return self._sessions.get(secret, now)

    def end(self, secret: str) -> None:
        """The session is over; it may have been."""
        self._sessions.take(secret, 0.0)


class _Bounded:
    """Callers by the digests of their secrets, each until it expires."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def put(self, secret: str, caller: Caller, until: float) -> None:
        self._entries[_digest(secret)] = caller, until
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def get(self, secret: str, now: float) -> Caller | None:
        caller, until = self._entries.get(_digest(secret), (None, 0.0))
        return caller if now < until else None

    def take(self, secret: str, now: float) -> Caller | None:
        caller, until = self._entries.pop(_digest(secret), (None, 0.0))
        return caller if now < until else None


def _digest(secret: str) -> bytes:
    """How long a look-up takes tells nothing of the secret: an attacker does not choose digests."""
    return sha256(secret.encode()).digest()
