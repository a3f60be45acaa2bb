"""The tokens that are revoked: kept until they expire, stored before anybody is told."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from headrace.guard.errors import store_failed
from headrace.runtime.clock import Clock

log = structlog.get_logger()


class RevokedStore(Protocol):
    """Where the list outlives the process."""

    def save_revoked(self, tokens: Mapping[str, int]) -> None:
        """Blocks until it is safe; raises OSError."""
        ...


class RevokedList:
    """`jti` -> expiry in seconds since 1970. `changed` is called with every new list."""

    def __init__(
        self,
        store: RevokedStore,
        tokens: Mapping[str, int],
        clock: Clock,
        changed: Callable[[tuple[str, ...]], object],
    ) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self._tokens = self._unexpired(tokens)
        self._writing = asyncio.Lock()

    @property
    def tokens(self) -> tuple[tuple[str, int], ...]:
        """Those that have not expired, by identifier."""
        return tuple(sorted(self._unexpired(self._tokens).items()))

    @property
    def ids(self) -> tuple[str, ...]:
        """Their identifiers."""
        return tuple(token for token, _ in self.tokens)

    async def add(self, token: str, expires_s: int) -> int:
        """Revokes; returns when the token is forgotten: the later time when it was revoked before.

        Raises STORE_FAILED, and then nothing was revoked.
        """
        # The lock orders the files; nobody's request waits for it.
        async with self._writing:
            tokens = self._unexpired(self._tokens)
            tokens[token] = max(expires_s, tokens.get(token, 0))
            try:
                await asyncio.to_thread(self._store.save_revoked, tokens)
            except OSError as error:
                log.error("a revocation could not be stored", error=error.strerror)
                raise store_failed() from None
            self._tokens = tokens
        self._changed(self.ids)
        return tokens[token]

    def _unexpired(self, tokens: Mapping[str, int]) -> dict[str, int]:
        now_s = self._clock.time_ns() // 10**9
        return {token: expires_s for token, expires_s in tokens.items() if expires_s > now_s}
