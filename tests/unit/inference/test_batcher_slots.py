"""Batchers of two replicas that share one slot: who runs, what is in the batch, and what the wait is called."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from headrace.inference.batcher import Batch, Batcher
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.core.slots import FREELY, Grant
from headrace.inference.slots import Slots, seated
from headrace.runtime.clock import Clock, SystemClock
from headrace.runtime.errors import HeadraceError
from tests.fakes.inference import Doubling
from tests.fakes.neighbours import SetClock
from tests.unit.inference.test_batcher import call, numbers, started, work

CLOCK = SystemClock()
POLICY = BatchPolicy(max_batch_size=4)


async def turns() -> None:
    """Lets the event loop do what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def replica(
    backend: Doubling,
    folder: Path,
    clock: Clock = CLOCK,
    seen: list[Batch] | None = None,
    policy: BatchPolicy = POLICY,
    instances: int = 1,
) -> AsyncIterator[Batcher]:
    """A model in a replica that shares `folder` and its one slot."""
    with ExitStack() as stack:
        slotted = stack.enter_context(seated(folder))
        batcher = Batcher(
            backend,
            policy,
            instances,
            clock,
            (seen if seen is not None else []).append,
            slots=lambda woken: slotted.of("model", "1", 1, woken),
        )
        try:
            yield batcher
        finally:
            await batcher.close()


async def test_what_waits_for_a_slot_is_one_batch(tmp_path: Path) -> None:
    """Nothing of it is executed before the other replica's batch has ended, and then all of it at once."""
    gate = threading.Event()
    first, second = Doubling(gate=gate), Doubling()
    async with replica(first, tmp_path) as busy, replica(second, tmp_path) as waiting:
        running = asyncio.ensure_future(busy.submit(work(1.0), call(), None))
        await started(first)
        others = [asyncio.ensure_future(waiting.submit(work(float(i)), call(), None)) for i in (2, 3, 4)]
        await turns()
        assert second.runs == []
        gate.set()
        outcomes = await asyncio.gather(*others)
        assert [numbers(one) for one in outcomes] == [[4.0], [6.0], [8.0]]
        await running
        counts = waiting.history.counts
        assert (counts.slot_waits, counts.slot_misses) == (1, 0)
        assert busy.history.counts.slot_waits == 0
    assert second.runs == [[2.0, 3.0, 4.0]]


async def test_the_wait_for_a_slot_is_told_as_such(tmp_path: Path) -> None:
    """It is none for company, though an instance had nothing to do."""
    gate, clock, seen = threading.Event(), SetClock(10.0), list[Batch]()
    first, second = Doubling(gate=gate), Doubling()
    async with replica(first, tmp_path, clock) as busy, replica(second, tmp_path, clock, seen) as waiting:
        running = asyncio.ensure_future(busy.submit(work(1.0), call(), None))
        await started(first)
        other = asyncio.ensure_future(waiting.submit(work(2.0), call(), None))
        await turns()
        clock.now = 10.125
        gate.set()
        await asyncio.gather(running, other)
        counts = waiting.history.counts
    assert (counts.slot_waits, counts.slot_wait_s, counts.slot_misses) == (1, 0.125, 0)
    assert [batch.wait_ns(ticket) for batch in seen for ticket in batch.tickets] == [0]


async def test_whom_the_first_batch_had_no_room_for_has_waited_for_a_slot_too(tmp_path: Path) -> None:
    """Not for company, though another instance had nothing to do all the time."""
    gate, clock, seen = threading.Event(), SetClock(10.0), list[Batch]()
    first, second = Doubling(gate=gate), Doubling()
    async with (
        replica(first, tmp_path, clock) as busy,
        replica(second, tmp_path, clock, seen, instances=2) as waiting,
    ):
        running = asyncio.ensure_future(busy.submit(work(1.0), call(), None))
        await started(first)
        others = [asyncio.ensure_future(waiting.submit(work(float(i)), call(), None)) for i in range(6)]
        await turns()
        clock.now = 10.125
        gate.set()
        await asyncio.gather(running, *others)
    assert sorted(len(batch.tickets) for batch in seen) == [2, 4]  # either may be heard of first
    assert {batch.wait_ns(ticket) for batch in seen for ticket in batch.tickets} == {0}


async def test_who_leaves_or_is_too_late_while_a_slot_is_waited_for_is_not_executed(tmp_path: Path) -> None:
    """And the slot goes to who still wants it."""
    gate = threading.Event()
    first, second = Doubling(gate=gate), Doubling()
    async with replica(first, tmp_path) as busy, replica(second, tmp_path) as waiting:
        running = asyncio.ensure_future(busy.submit(work(1.0), call(), None))
        await started(first)
        left = asyncio.ensure_future(waiting.submit(work(2.0), call(), None))
        late = asyncio.ensure_future(waiting.submit(work(3.0), call(), CLOCK.monotonic() + 0.01))
        with pytest.raises(HeadraceError) as error:
            await late
        assert error.value.reason == "DEADLINE_EXCEEDED"
        left.cancel()
        gate.set()
        await running
        assert numbers(await busy.submit(work(4.0), call(), None)) == [8.0]
        assert numbers(await waiting.submit(work(5.0), call(), None)) == [10.0]
    assert second.runs == [[5.0]]


async def test_who_waits_for_company_holds_no_slot(tmp_path: Path) -> None:
    """A patient model's slot is another replica's until the batch is ripe."""
    patient = BatchPolicy(max_batch_size=2, max_delay_s=3600.0, eager=False)
    async with (
        replica(Doubling(), tmp_path, policy=patient) as waiting,
        replica(Doubling(), tmp_path) as other,
    ):
        first = asyncio.ensure_future(waiting.submit(work(1.0), call(), None))
        await turns()
        assert numbers(await other.submit(work(2.0), call(), None)) == [4.0]
        assert other.history.counts.slot_waits == 0
        await asyncio.gather(first, waiting.submit(work(3.0), call(), None))


class Refusing:
    """Slots that are not there, until `free`."""

    def __init__(self, woken: Callable[[], None]) -> None:
        self.woken = woken
        self.waiting = False
        self.free = False
        self.asked = 0

    def take(self, now: float) -> Grant | None:  # whenever it is
        self.asked += 1
        self.waiting = not self.free
        return FREELY if self.free else None

    def leave(self) -> None:
        self.waiting = False

    def give(self, grant: Grant, now: float, took_s: float = 0.0) -> None:
        """Nothing was taken."""

    def close(self) -> None:
        """Nothing to let go of."""


@asynccontextmanager
async def refused(backend: Doubling) -> AsyncIterator[tuple[Batcher, Refusing]]:
    made: list[Refusing] = []

    def slots(woken: Callable[[], None]) -> Slots:
        made.append(Refusing(woken))
        return made[0]

    batcher = Batcher(backend, POLICY, 2, CLOCK, lambda _: None, slots=slots)
    try:
        yield batcher, made[0]
    finally:
        await batcher.close()


async def test_a_quick_models_batches_need_no_slot() -> None:
    """They take less time than asking would."""
    async with refused(Doubling()) as (batcher, slots):
        slots.free = True
        while not batcher._gathering.quick:  # the first batches may be slow
            await batcher.submit(work(1.0), call(), None)
        asked = slots.asked
        batcher._gathering.took(0.0)  # whatever the machine does meanwhile
        slots.free = False
        assert numbers(await batcher.submit(work(2.0), call(), None)) == [4.0]
        assert slots.asked == asked


async def test_while_a_slot_is_waited_for_arrivals_do_not_ask_again() -> None:
    """Whoever gives one back tells."""
    async with refused(Doubling()) as (batcher, slots):
        waiting = []
        for number in range(5):
            waiting.append(asyncio.ensure_future(batcher.submit(work(float(number)), call(), None)))
            await turns()
        assert slots.asked == 1
        slots.free = True
        slots.woken()
        await asyncio.gather(*waiting)


async def test_a_model_that_became_quick_while_it_waited_is_not_left_waiting() -> None:
    """Its wait ends with the next look; whoever comes then is executed."""
    async with refused(Doubling()) as (batcher, slots):
        first = asyncio.ensure_future(batcher.submit(work(1.0), call(), None))
        await turns()
        assert slots.asked == 1
        batcher._gathering.took(0.0)  # another instance's batch was quick
        slots.woken()
        assert numbers(await first) == [2.0]
        batcher._gathering.took(0.0)
        assert numbers(await batcher.submit(work(2.0), call(), None)) == [4.0]
