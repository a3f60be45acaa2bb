"""The near-cache: answers in the replica itself, as long as it hears what must be forgotten."""

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
import structlog

from headrace.cache.core.shelf import Kept, Scope, Shelf
from headrace.cache.v1.cache_service_pb2 import WatchRequest, WatchResponse
from headrace.runtime.clock import Clock

if TYPE_CHECKING:
    from headrace.cache.v1.cache_service_pb2_grpc import CacheServiceAsyncStub

log = structlog.get_logger(__name__)

AGAIN_S = 0.5
"""Between two tries to watch, half of it at random: replicas don't come back in step."""

FIRST_WORD_S = 5.0
HEARTBEATS = 3
"""Silence of so many heartbeats is a lost stream: a stopped service closes nothing."""


Words = grpc.aio.UnaryStreamCall[WatchRequest, WatchResponse]


class NearCache:
    """Answers by key, for `live` times only: while the service is heard.

    `epoch` changes whenever something had to be forgotten; an answer that was
    begun in an earlier one is not kept.
    """

    def __init__(self, max_entries: int, max_bytes: int, clock: Clock) -> None:
        self.shelf = Shelf(max_entries, max_bytes)
        self.live = False
        self.epoch = 0
        self.hits = 0
        self._clock = clock

    def get(self, key: bytes) -> bytes | None:
        """The answer; None when it isn't here, has ended, or the service isn't heard."""
        if not self.live:
            return None
        kept = self.shelf.get(key, self._clock.monotonic())
        if kept is None:
            return None
        self.hits += 1
        return kept.value

    def put(self, key: bytes, kept: Kept, epoch: int) -> None:
        """Keeps an answer that was begun in `epoch`; its end is on the monotonic clock."""
        if self.live and epoch == self.epoch:
            self.shelf.put(key, kept)

    def found(self) -> None:
        """The service is heard from now on; what was missed before is not known."""
        self._forget_all()
        self.live = True

    def lost(self) -> None:
        """The service is not heard any more."""
        self.live = False
        self._forget_all()

    def forget(self, scopes: Sequence[Scope]) -> None:
        """Forgets what the service says."""
        if scopes:
            self.epoch += 1
        for scope in scopes:
            self.shelf.forget(scope)

    def _forget_all(self) -> None:
        self.epoch += 1
        self.shelf.clear()


async def follow(
    near: NearCache, stub: "CacheServiceAsyncStub", credentials: tuple[tuple[str, str], ...]
) -> None:
    """Keeps watching, for ever: what it hears is forgotten, and everything when it hears nothing."""
    while True:
        try:
            await _heard(near, stub, credentials)
            why = "the service ended the stream"
        except TimeoutError:
            why = "no word in time"
        except grpc.aio.AioRpcError as error:
            why = error.code().name
        if near.live:
            log.warning("the near-cache is off: the cache service is not heard", why=why)
        near.lost()
        await asyncio.sleep(AGAIN_S * (0.5 + random.random() / 2))


async def _heard(
    near: NearCache, stub: "CacheServiceAsyncStub", credentials: tuple[tuple[str, str], ...]
) -> None:
    call = stub.Watch(WatchRequest(), metadata=credentials)
    try:
        message = await _word(call, FIRST_WORD_S)
        if isinstance(message, WatchResponse):
            near.found()
        while isinstance(message, WatchResponse):
            near.forget([Scope(named.tenant, named.model, named.key) for named in message.invalidations])
            silence_s = HEARTBEATS * message.heartbeat.ToNanoseconds() / 1e9
            message = await _word(call, silence_s)
    finally:
        call.cancel()


async def _word(call: Words, within_s: float) -> object:
    """The stream's next message; raises TimeoutError.

    Not by asyncio.wait_for: before Python 3.12 it loses a cancellation that
    comes together with the message, and then its loop is never left.
    """
    async with asyncio.timeout(within_s):
        return await call.read()
