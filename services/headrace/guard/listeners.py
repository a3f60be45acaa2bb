"""For whom a process keeps a lease stream: for the leases it holds, or only to hear what is revoked."""

from headrace.guard.core.book import DEFAULT_TTL_S, LeaseBook
from headrace.guard.core.frames import GuardFrame, Hello, HolderFrame
from headrace.runtime.clock import Clock
from headrace.runtime.revocation import RevokedTokens


class LeaseListener:
    """A process that admits requests."""

    def __init__(
        self, book: LeaseBook, revoked: RevokedTokens, clock: Clock, holder: str, incarnation: str
    ) -> None:
        self._book = book
        self._revoked = revoked
        self._clock = clock
        self._holder = holder
        self._incarnation = incarnation

    @property
    def ttl_s(self) -> float:
        return self._book.ttl_s

    def hello(self) -> HolderFrame:
        return self._book.hello(self._holder, self._incarnation, self._clock.monotonic())

    def take(self, frame: GuardFrame) -> None:
        self._book.take(frame, self._clock.monotonic())
        _hear(self._revoked, frame)

    def outgoing(self) -> HolderFrame | None:
        return self._book.outgoing()

    def lose(self) -> None:
        self._book.lose(self._clock.monotonic())
        self._revoked.lose()


class RevocationListener:
    """A process that admits nothing and only has to know which tokens are revoked."""

    def __init__(self, revoked: RevokedTokens, holder: str, incarnation: str) -> None:
        self._revoked = revoked
        self._hello = HolderFrame(Hello(holder, incarnation, watch_only=True))
        self.ttl_s = DEFAULT_TTL_S

    def hello(self) -> HolderFrame:
        return self._hello

    def take(self, frame: GuardFrame) -> None:
        if frame.snapshot is not None:
            self.ttl_s = frame.snapshot.ttl_s or self.ttl_s
        _hear(self._revoked, frame)

    def outgoing(self) -> HolderFrame | None:
        return None

    def lose(self) -> None:
        self._revoked.lose()


def _hear(revoked: RevokedTokens, frame: GuardFrame) -> None:
    if frame.snapshot is not None and frame.snapshot.revoked is not None:
        revoked.replace(frame.snapshot.revoked)
