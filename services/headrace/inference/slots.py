"""Slots that the replicas of one machine share, so that together they run no more batches of a model than one would.

Three replicas that each run two batches on two cores run all of them three times
as slowly, and each batch has a third of the rows. A slot is a locked file: the
kernel takes it from a dead replica. Who waits writes since when where all see it,
and who gives a slot back wakes the one that has waited longest; `core/slots.py`
decides. Nothing here blocks, and nothing but speed depends on it: where files
fail, or a replica is stopped while it holds a slot, batches run without one.
"""

import asyncio
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import structlog

from headrace.inference.core.slots import (
    FREELY,
    NOTHING,
    Grant,
    goes_first,
    longest,
    longest_batch_s,
    patience_s,
)

log = structlog.get_logger(__name__)

SEATS = 32
"""Replicas that can share slots; one more than that needs none."""

CELL = 8
LOOK_S = 0.02
"""Who waits looks by itself this often: nobody wakes it when the holder was killed."""

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC

Woken = Callable[[], None]


class Slots(Protocol):
    """One model's slots, as its batcher asks for them. On the event loop, but for `give`."""

    @property
    def waiting(self) -> bool:
        """Whether a slot is waited for; `woken` is called when it may be there."""
        ...

    def take(self, now: float) -> Grant | None:
        """The leave to execute a batch now; None, and waiting, until it is this replica's turn."""
        ...

    def leave(self) -> None:
        """Nobody waits here any more."""
        ...

    def give(self, grant: Grant, now: float, took_s: float = 0.0) -> None:
        """Gives a slot back, after a batch that took `took_s`; from any thread."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class Slotted(Protocol):
    """Where a replica's models get their slots."""

    def of(self, model: str, version: str, slots: int, woken: Woken) -> Slots:
        """The slots of one version of a model; `woken` is called when a wait may be over."""
        ...


class OwnSlots:
    """A model that shares with nobody: an idle instance executes at once."""

    waiting = False

    def take(self, now: float) -> Grant | None:  # noqa: ARG002  # whenever it is
        """Always."""
        return FREELY

    def leave(self) -> None:
        """Nobody waits."""

    def give(self, grant: Grant, now: float, took_s: float = 0.0) -> None:
        """Nothing was taken."""

    def close(self) -> None:
        """Nothing to let go of."""


class Unshared:
    """A replica that shares nothing."""

    def of(self, model: str, version: str, slots: int, woken: Woken) -> Slots:  # noqa: ARG002  # it has its own
        """As many as it has instances."""
        return OwnSlots()


class Seat:
    """A replica's place among those that share slots in a folder, and the pipes by which they wake each other."""

    def __init__(self, folder: Path, number: int, pipes: list[int]) -> None:
        self._folder = folder
        self.number = number
        self._pipes = pipes
        self._woken: list[Woken] = []

    def of(self, model: str, version: str, slots: int, woken: Woken) -> Slots:
        """The slots of one version of a model; its own where the files can't be had."""
        name = f"{quote(model, safe='')}@{quote(version, safe='')}"
        try:
            shared = SharedSlots(self, self._folder / name, slots, woken)
        except OSError as error:
            log.warning("slots are not shared", model=model, problem=error.strerror)
            return OwnSlots()
        self._woken.append(woken)
        return shared

    def leave(self, woken: Woken) -> None:
        """These slots are closed."""
        self._woken.remove(woken)

    def wake(self, number: int) -> None:
        """Has the replica at a seat look whether it is its turn."""
        with suppress(OSError):  # a full pipe wakes as well
            os.write(self._pipes[number], b"\0")

    def hear(self) -> None:
        """Somebody woke this replica."""
        with suppress(OSError):
            os.read(self._pipes[self.number], 4096)
        for woken in list(self._woken):
            woken()


class SharedSlots:
    """The slots of one version of a model. A slot that is held is an open, locked file: its number is the descriptor's."""

    def __init__(self, seat: Seat, folder: Path, slots: int, woken: Woken) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._seat, self._own = seat, seat.number
        self._files = [folder / f"slot-{number}" for number in range(slots)]
        self._shared = _mapped(folder / "waiting")
        self._cells = memoryview(self._shared).cast("d")
        self._cells[self._own] = 0.0
        self._woken = woken
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None
        self._batch_s = 0.0
        self._stuck = False

    @property
    def waiting(self) -> bool:
        """Whether a slot is waited for."""
        return self._look is not None

    def take(self, now: float) -> Grant | None:
        """A slot, when nobody has waited longer; without one past the bound, until one is there again."""
        since = self._cells[self._own] or now
        self._cells[self._own] = since  # before the look: who gives one back meanwhile sees it
        slot = NOTHING
        patience = patience_s(self._batch_s)
        if goes_first(self._cells.tolist(), since, now, patience):
            slot = self._free()
        if slot == NOTHING and not self._stuck and now - since < patience:
            self._look_later()
            return None
        self._stuck = slot == NOTHING
        self._end_wait(now)
        return Grant(slot, since)

    def leave(self) -> None:
        """Nobody waits here any more."""
        if self.waiting:
            self._end_wait(self._cells[self._own])

    def give(self, grant: Grant, now: float, took_s: float = 0.0) -> None:
        """Gives a slot back, and wakes who has waited longest."""
        self._batch_s = longest_batch_s(self._batch_s, took_s)
        if grant.slot != NOTHING:
            os.close(grant.slot)
            self._wake(now)

    def close(self) -> None:
        """Others take what was waited for here."""
        self.leave()
        self._seat.leave(self._woken)
        self._cells.release()
        self._shared.close()

    def _free(self) -> int:
        for file in self._files:
            with suppress(OSError):  # held, or the folder is gone
                slot = os.open(file, _FLAGS, 0o600)
                if _locked(slot):
                    return slot
                os.close(slot)
        return NOTHING

    def _look_later(self) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look = self._loop.call_later(LOOK_S, self._looked)

    def _looked(self) -> None:
        self._look = None
        self._woken()

    def _end_wait(self, now: float) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._cells[self._own] = 0.0
        self._wake(now)  # another slot may be free, of which only this replica was told

    def _wake(self, now: float) -> None:
        next_one = longest(self._cells.tolist(), now, patience_s(self._batch_s))
        if next_one is not None:
            self._seat.wake(next_one)


@contextmanager
def seated(folder: Path | None) -> Iterator[Slotted]:
    """Where the models of a replica get their slots: with those that share `folder`, or by itself. On the event loop."""
    with ExitStack() as stack:
        seat = None
        if folder is not None:
            try:
                seat = _sit_down(folder, stack)
            except OSError as error:
                log.warning("slots are not shared", folder=str(folder), problem=error.strerror)
        yield seat or Unshared()


def _sit_down(folder: Path, stack: ExitStack) -> Seat | None:
    """The first seat that is free; None when none is."""
    for made in (folder.parent, folder):  # mkdir's mode is not that of the parents it makes
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number in range(SEATS):
        place = os.open(folder / f"seat-{number}", _FLAGS, 0o600)
        stack.callback(os.close, place)
        if _locked(place):
            break
    else:
        return None
    pipes = []
    for other in range(SEATS):
        pipes.append(_pipe(folder / f"wake-{other}"))
        stack.callback(os.close, pipes[-1])
    seat, loop = Seat(folder, number, pipes), asyncio.get_running_loop()
    loop.add_reader(pipes[number], seat.hear)
    stack.callback(loop.remove_reader, pipes[number])
    return seat


def _pipe(path: Path) -> int:
    with suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _mapped(path: Path) -> mmap.mmap:
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        os.ftruncate(descriptor, SEATS * CELL)
        return mmap.mmap(descriptor, SEATS * CELL)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
