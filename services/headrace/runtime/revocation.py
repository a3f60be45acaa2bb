"""Which tokens are refused although they have not expired.

The list is somebody else's (the guard's) and is pushed; this is what a process
knows of it. While it can't be pushed, what administers fails closed at once,
and everything else goes on by the last known list for a bounded time.
"""

from collections.abc import Iterable
from typing import Protocol

from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Caller

RETRY_S = 1.0
STALENESS_S = 600.0


class Revocations(Protocol):
    """Whether a caller's token still holds."""

    def check(self, caller: Caller, *, strict: bool) -> None:
        """Raises TOKEN_REVOKED, or REVOCATIONS_UNKNOWN when nobody can tell.

        `strict`: the call must not be made by a token that may be revoked.
        """
        ...


class NoRevocations:
    """For a process that has nobody to ask: no token is ever revoked."""

    def check(self, caller: Caller, *, strict: bool) -> None:
        """Never raises."""


NO_REVOCATIONS = NoRevocations()


class RevokedTokens:
    """The pushed list, and whether it is still pushed. Begins as unknown.

    `staleness_s`: how long calls that are not strict go on by the last known
    list, counted from its loss; 0: not at all.
    """

    __slots__ = ("_clock", "_current", "_lost", "_revoked", "_staleness_s")

    def __init__(self, clock: Clock, staleness_s: float = STALENESS_S) -> None:
        self._clock = clock
        self._staleness_s = staleness_s
        self._revoked: frozenset[str] = frozenset()
        self._current = False
        self._lost = clock.monotonic()

    def replace(self, token_ids: Iterable[str]) -> None:
        """The whole list, as it is now."""
        self._revoked = frozenset(token_ids)
        self._current = True

    def lose(self) -> None:
        """From now on changes would not be seen."""
        if self._current:
            self._current = False
            self._lost = self._clock.monotonic()

    def check(self, caller: Caller, *, strict: bool) -> None:
        """As the Protocol says. A caller without a token (a trusted peer) has none that could be revoked."""
        if not caller.token_id:
            return
        if caller.token_id in self._revoked:
            raise HeadraceError("TOKEN_REVOKED", "the token has been revoked", {"token_id": caller.token_id})
        if not self._current and (strict or self._stale()):
            raise _unknown(strict=strict)

    def _stale(self) -> bool:
        return self._clock.monotonic() - self._lost >= self._staleness_s


def _unknown(*, strict: bool) -> HeadraceError:
    scope = "operate" if strict else "any"
    return HeadraceError(
        "REVOCATIONS_UNKNOWN",
        "which tokens are revoked can't be had from the guard now, and this call is not made without it",
        {"scope": scope},
        retry_after_s=RETRY_S,
    )
