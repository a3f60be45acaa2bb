"""Has every replica of a mesh do what one of them was asked to: load a model, change a setting.

A call reaches one replica. It does what is asked, writes it down where all
replicas look, and answers when those that live have done the same. A replica
that starts later, or again, does all that is written before it is ready.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog

from headrace.inference.board import Board, NameTaken
from headrace.inference.control_errors import replica_behind
from headrace.inference.core.wishes import Acknowledgement, Wishes
from headrace.runtime.clock import Clock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.loops import looping

log = structlog.get_logger(__name__)

LOOK_S = 0.5
WAIT_S = 60.0
"""How long a caller waits for the other replicas; they do it all the same when they can."""

JOIN_TRIES = 100
"""A tenth of a second each: a replica that starts again waits for the end of its predecessor."""

Apply = Callable[[str, str], Awaitable[None]]
"""Does what is wanted of a thing; raises HeadraceError when it can't."""


class Agreement(Protocol):
    """Tells the other replicas."""

    async def tell(self, key: str, value: str) -> int:
        """Has the others do what this replica has done; returns the wish's revision."""
        ...

    async def reached(self, key: str, revision: int) -> None:
        """Returns when all others have done it; raises REPLICA_BEHIND."""
        ...


class Alone:
    """A replica without others."""

    async def tell(self, key: str, value: str) -> int:  # noqa: ARG002  # nobody is told
        """Nobody to tell."""
        return 0

    async def reached(self, key: str, revision: int) -> None:
        """Nobody to wait for."""


class Shared:
    """A replica among others."""

    def __init__(self, board: Board, apply: Apply, clock: Clock) -> None:
        self._board = board
        self._apply = apply
        self._clock = clock
        self._done: dict[str, int] = {}
        self._problems: dict[str, str] = {}
        self._turn = asyncio.Lock()

    async def tell(self, key: str, value: str) -> int:
        """Has the others do what this replica has done; returns the wish's revision."""
        async with self._turn:
            revision = await asyncio.to_thread(self._board.wish, key, value)
            self._done[key] = revision
            self._problems.pop(key, None)
        return revision

    async def reached(self, key: str, revision: int) -> None:
        """Returns when all others have done it; raises REPLICA_BEHIND."""
        latest = self._clock.monotonic() + WAIT_S
        while behind := await self._behind(key, revision):
            if self._clock.monotonic() >= latest:
                raise replica_behind(behind, "it has not answered yet")
            await asyncio.sleep(LOOK_S / 4)

    async def catch_up(self) -> None:
        """Does all that is wanted and not done."""
        async with self._turn:
            wishes = await asyncio.to_thread(self._board.news)
            if wishes is not None:
                await self._follow(wishes)

    async def follow(self) -> None:
        """Catches up for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.catch_up()

    async def _behind(self, key: str, revision: int) -> str:
        """A replica that has not got so far; empty when there is none. Raises REPLICA_BEHIND for one that failed."""
        for name, told in (await asyncio.to_thread(self._board.others)).items():
            if told.revision < revision:
                return name
            if key in told.problems:
                raise replica_behind(name, told.problems[key])
        return ""

    async def _follow(self, wishes: Wishes) -> None:
        unseen = wishes.unseen(self._done)
        await asyncio.gather(*(self._try(key, wish.value) for key, wish in unseen))
        self._done.update((key, wish.revision) for key, wish in unseen)
        done = Acknowledgement(wishes.revision, dict(self._problems))
        await asyncio.to_thread(self._board.acknowledge, done)

    async def _try(self, key: str, value: str) -> None:
        self._problems.pop(key, None)
        try:
            await self._apply(key, value)
        except HeadraceError as error:
            log.error("not done here", key=key, reason=error.reason, problem=error.message)
            self._problems[key] = error.message


@asynccontextmanager
async def agreeing(folder: Path | None, replica: str, apply: Apply, clock: Clock) -> AsyncIterator[Agreement]:
    """Agreement with the replicas that share `folder`; all that they want is done when this is entered."""
    if folder is None:
        yield Alone()
        return
    board = Board(folder, replica)
    await _join(board)
    try:
        shared = Shared(board, apply, clock)
        await shared.catch_up()
        async with looping(shared.follow()):
            yield shared
    finally:
        board.leave()


async def _join(board: Board) -> None:
    for _ in range(JOIN_TRIES):
        try:
            return await asyncio.to_thread(board.join)
        except NameTaken:
            await asyncio.sleep(0.1)
    return await asyncio.to_thread(board.join)
