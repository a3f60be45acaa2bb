"""Slots that replicas share: real files, real locks; each seat stands for a replica."""

import asyncio
import fcntl
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.inference.core.slots import FREELY, LEAST_PATIENCE_S, NOTHING, Grant
from headrace.inference.slots import SEATS, OwnSlots, SharedSlots, Slots, Unshared, seated

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def turns() -> None:
    """Lets the event loop do what is due; far less than a waiting replica's look by itself takes."""
    for _ in range(5):
        await asyncio.sleep(0)


class Replica:
    """One replica's slots of a model, and when it was woken."""

    def __init__(self, stack: ExitStack, folder: Path, slots: int) -> None:
        self.woken = asyncio.Event()
        self.slots: Slots = stack.enter_context(seated(folder)).of("model", "1", slots, self.woken.set)
        stack.callback(self.slots.close)

    def takes(self, now: float) -> Grant:
        grant = self.slots.take(now)
        assert grant is not None
        return grant


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def test_replicas_together_have_the_slots_of_one(stack: ExitStack, tmp_path: Path) -> None:
    """The third batch waits, whichever replica has it."""
    one, other = Replica(stack, tmp_path, 2), Replica(stack, tmp_path, 2)
    first, second = one.takes(1.0), other.takes(1.0)
    assert first.slot != NOTHING != second.slot
    assert one.slots.take(1.1) is None
    assert other.slots.take(1.2) is None
    assert one.slots.waiting
    for grant, replica in ((first, one), (second, other)):
        replica.slots.give(grant, 1.2)


async def test_a_slot_goes_to_who_has_waited_longest(stack: ExitStack, tmp_path: Path) -> None:
    """That one is woken; neither who came later nor who gave it back goes before it."""
    holder, early, late = (Replica(stack, tmp_path, 1) for _ in range(3))
    held = holder.takes(1.0)
    assert early.slots.take(1.01) is None
    assert late.slots.take(1.02) is None
    holder.slots.give(held, 1.03)
    await turns()
    assert early.woken.is_set()
    assert not late.woken.is_set()
    assert holder.slots.take(1.04) is None
    assert late.slots.take(1.05) is None
    grant = early.takes(1.06)
    assert grant.slot != NOTHING
    assert grant.asked_at == 1.01
    early.slots.give(grant, 1.07)
    late.slots.give(late.takes(1.08), 1.09)


async def test_who_leaves_stands_in_nobodys_way(stack: ExitStack, tmp_path: Path) -> None:
    """All that waited there were cancelled or too late; the next one is told."""
    holder, left, next_one = (Replica(stack, tmp_path, 1) for _ in range(3))
    held = holder.takes(1.0)
    assert left.slots.take(1.01) is None
    assert next_one.slots.take(1.02) is None
    holder.slots.give(held, 1.03)
    left.slots.leave()
    assert not left.slots.waiting
    await turns()
    assert next_one.woken.is_set()
    next_one.slots.give(next_one.takes(1.04), 1.05)


async def test_a_dead_replicas_slot_is_free_and_found_without_being_told(
    stack: ExitStack, tmp_path: Path
) -> None:
    """kill -9: the kernel lets go of its lock, nobody wakes who waits."""
    replica = Replica(stack, tmp_path, 1)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "model@1" / "slot-0")]
    holder = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    assert replica.slots.take(1.0) is None
    holder.kill()
    await holder.wait()
    await asyncio.wait_for(replica.woken.wait(), 10)
    grant = replica.takes(1.1)
    assert grant.slot != NOTHING
    replica.slots.give(grant, 1.2)


async def test_a_stopped_holder_is_waited_for_once(stack: ExitStack, tmp_path: Path) -> None:
    """Past the bound batches run without a slot, and the next ones at once, until a slot is there again."""
    stopped, other = Replica(stack, tmp_path, 1), Replica(stack, tmp_path, 1)
    held = stopped.takes(1.0)
    assert other.slots.take(1.0) is None
    assert other.slots.take(1.0 + 0.9 * LEAST_PATIENCE_S) is None
    assert other.takes(1.0 + LEAST_PATIENCE_S) == Grant(NOTHING, 1.0)
    assert other.takes(1.5) == Grant(NOTHING, 1.5)
    stopped.slots.give(held, 2.0)
    again = other.takes(2.1)
    assert again.slot != NOTHING
    assert stopped.slots.take(2.2) is None
    assert other.slots.take(2.3) is None
    other.slots.give(again, 2.4)


async def test_a_stopped_waiter_holds_nobody_up_past_the_bound(stack: ExitStack, tmp_path: Path) -> None:
    """It is woken and does not come."""
    holder, stopped, other = (Replica(stack, tmp_path, 1) for _ in range(3))
    held = holder.takes(1.0)
    assert stopped.slots.take(1.0) is None
    holder.slots.give(held, 1.1)
    assert other.slots.take(1.1) is None
    grant = other.takes(1.01 + LEAST_PATIENCE_S)
    assert grant.slot != NOTHING
    other.slots.give(grant, 2.0)


async def test_without_its_files_a_replica_works_by_itself(stack: ExitStack, tmp_path: Path) -> None:
    """Nothing but speed depends on them: past the bound batches run without a slot."""
    replica = Replica(stack, tmp_path / "slots", 1)
    assert isinstance(replica.slots, SharedSlots)
    shutil.rmtree(tmp_path / "slots")
    assert replica.slots.take(1.0) is None
    assert replica.takes(1.0 + LEAST_PATIENCE_S).slot == NOTHING
    assert replica.takes(2.0).slot == NOTHING


async def test_where_no_files_can_be_made_nothing_is_shared(tmp_path: Path) -> None:
    """Nor where no directory is set."""
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file" / "slots"):
        with seated(folder) as slotted:
            assert isinstance(slotted, Unshared)
            assert slotted.of("model", "1", 2, lambda: None).take(1.0) == FREELY


async def test_no_name_of_a_model_leads_out_of_the_directory(tmp_path: Path) -> None:
    """And one that makes no name of a file shares nothing."""
    with seated(tmp_path / "in" / "slots") as slotted:
        for name in ("..", "../up", "../../up", "a/b"):
            slotted.of(name, "1", 1, lambda: None).close()
        assert isinstance(slotted.of("x" * 300, "1", 1, lambda: None), OwnSlots)
    assert os.listdir(tmp_path) == ["in"]  # noqa: PTH208  # no Path method of a loop's thread
    assert os.listdir(tmp_path / "in") == ["slots"]  # noqa: PTH208


async def test_its_directories_are_its_owners(tmp_path: Path) -> None:
    """Also the one above, if it is the first there."""
    with seated(tmp_path / "control" / "slots"):
        for made in ("control", "control/slots"):
            assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700


async def test_one_replica_more_than_there_are_seats_shares_nothing(tmp_path: Path) -> None:
    """It would have no place to say that it waits."""
    descriptors = [
        os.open(tmp_path / f"seat-{number}", os.O_RDWR | os.O_CREAT, 0o600) for number in range(SEATS)
    ]
    for descriptor in descriptors:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    with seated(tmp_path) as slotted:
        assert isinstance(slotted, Unshared)
    os.close(descriptors.pop())
    with seated(tmp_path) as slotted:
        assert not isinstance(slotted, Unshared)
    for descriptor in descriptors:
        os.close(descriptor)
