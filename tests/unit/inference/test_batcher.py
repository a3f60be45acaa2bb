"""The shell around the queue: who is answered, by whom, and what a caller's end does to others."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from headrace.inference.batch import NO_WORK
from headrace.inference.batcher import Batch, Batcher, Outcome
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.execution import Work
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import ANONYMOUS, Call
from tests.fakes.inference import Doubling
from tests.fakes.neighbours import SetClock

CLOCK = SystemClock()


def work(number: float, rows: int = 1) -> Work:
    return Work(rows, [(rows, 2)], [np.full((rows, 2), number, np.float32).tobytes()])


def call() -> Call:
    return Call("/test", {}, ANONYMOUS, CLOCK.monotonic())


def numbers(outcome: Outcome) -> list[float]:
    return [float(value) for value in np.frombuffer(outcome.answer.values[0], np.float32)[::2]]


@asynccontextmanager
async def batching(
    backend: Doubling,
    policy: BatchPolicy | None = None,
    instances: int = 1,
    observe: Callable[[Batch], None] = lambda _: None,
) -> AsyncIterator[Batcher]:
    policy = policy or BatchPolicy(max_batch_size=4, max_queue=8)
    batcher = Batcher(backend, policy, instances, CLOCK, observe)
    try:
        yield batcher
    finally:
        await batcher.close()


async def started(backend: Doubling) -> None:
    assert await asyncio.to_thread(backend.started.acquire, timeout=10)


async def test_each_caller_gets_its_own_answer() -> None:
    """Requests of several sizes share batches, and none sees another's rows."""
    async with batching(Doubling(), BatchPolicy(max_batch_size=8, max_queue=1000), 2) as batcher:
        sizes = [1 + i % 3 for i in range(200)]
        outcomes = await asyncio.gather(
            *(batcher.submit(work(float(i), rows), call(), None) for i, rows in enumerate(sizes))
        )
        for i, (rows, outcome) in enumerate(zip(sizes, outcomes, strict=True)):
            assert numbers(outcome) == [2.0 * i] * rows


async def test_requests_read_together_are_executed_together() -> None:
    """What arrives in one turn of the event loop is one batch."""
    backend = Doubling()
    async with batching(backend) as batcher:
        await asyncio.gather(*(batcher.submit(work(float(i)), call(), None) for i in range(4)))
    assert backend.runs == [[0.0, 1.0, 2.0, 3.0]]


async def test_a_batch_runs_off_the_event_loop_and_in_parallel_instances() -> None:
    """While two instances are in the model, the loop goes on and both have started."""
    gate = threading.Event()
    backend = Doubling(gate=gate, max_batch_size=1)
    async with batching(backend, BatchPolicy(max_batch_size=1), 2) as batcher:
        waiting = [asyncio.ensure_future(batcher.submit(work(float(i)), call(), None)) for i in range(2)]
        await started(backend)
        await started(backend)
        assert not any(one.done() for one in waiting)
        gate.set()
        await asyncio.gather(*waiting)
    assert len(backend.threads) == 2
    assert threading.get_ident() not in backend.threads


async def test_a_request_that_breaks_the_model_fails_alone() -> None:
    """Its batch-mates are answered, and it is told EXECUTION_FAILED without the cause."""
    backend = Doubling()
    backend.poison = 1.0
    async with batching(backend) as batcher:
        outcomes = await asyncio.gather(
            *(batcher.submit(work(float(i)), call(), None) for i in range(4)), return_exceptions=True
        )
    (failed,) = [one for one in outcomes if isinstance(one, BaseException)]
    assert isinstance(failed, HeadraceError)
    assert failed.reason == "EXECUTION_FAILED"
    assert "poisoned" not in failed.message
    assert [numbers(one) for one in outcomes if isinstance(one, Outcome)] == [[0.0], [4.0], [6.0]]


async def test_a_model_that_always_raises_leaves_nobody_waiting() -> None:
    """Every caller gets an error, and the next requests are tried again."""
    backend = Doubling()
    backend.poison = 7.0
    async with batching(backend) as batcher:
        for _ in range(2):
            outcomes = await asyncio.gather(
                *(batcher.submit(work(7.0), call(), None) for _ in range(4)), return_exceptions=True
            )
            assert all(isinstance(one, HeadraceError) for one in outcomes)
        assert numbers(await batcher.submit(work(1.0), call(), None)) == [2.0]


async def test_a_cancelled_request_is_not_executed() -> None:
    """It leaves the queue at once; its neighbours are answered."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    async with batching(backend) as batcher:
        running = asyncio.ensure_future(batcher.submit(work(0.0), call(), None))
        await started(backend)
        left = asyncio.ensure_future(batcher.submit(work(1.0), call(), None))
        stays = asyncio.ensure_future(batcher.submit(work(2.0), call(), None))
        await asyncio.sleep(0)
        assert batcher.waiting == 2
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert batcher.waiting == 1
        gate.set()
        assert numbers(await running) == [0.0]
        assert numbers(await stays) == [4.0]
    assert backend.runs == [[0.0], [2.0]]


async def test_a_caller_that_leaves_during_execution_harms_no_one() -> None:
    """Its batch-mates get their answers."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    async with batching(backend) as batcher:
        both = [asyncio.ensure_future(batcher.submit(work(float(i)), call(), None)) for i in range(2)]
        await started(backend)
        both[0].cancel()
        gate.set()
        assert numbers(await both[1]) == [2.0]


async def test_a_deadline_in_the_queue_is_answered_while_the_instance_is_busy() -> None:
    """DEADLINE_EXCEEDED does not wait for the running batch, and the model never sees the request."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    async with batching(backend) as batcher:
        running = asyncio.ensure_future(batcher.submit(work(0.0), call(), None))
        await started(backend)
        with pytest.raises(HeadraceError, match="DEADLINE_EXCEEDED"):
            await batcher.submit(work(1.0), call(), CLOCK.monotonic() + 0.02)
        assert not running.done()
        assert batcher.waiting == 0
        gate.set()
        await running
    assert backend.runs == [[0.0]]


async def test_a_deadline_that_has_passed_is_refused_at_entry() -> None:
    """Nothing is queued for it."""
    backend = Doubling()
    async with batching(backend) as batcher:
        with pytest.raises(HeadraceError, match="DEADLINE_EXCEEDED"):
            await batcher.submit(work(1.0), call(), CLOCK.monotonic() - 1)
    assert backend.runs == []


async def test_a_full_queue_refuses_at_once() -> None:
    """The request past max_queue gets QUEUE_FULL with a retry time; those that wait are answered."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    async with batching(backend, BatchPolicy(max_batch_size=4, max_queue=2)) as batcher:
        running = asyncio.ensure_future(batcher.submit(work(0.0), call(), None))
        await started(backend)
        waiting = [asyncio.ensure_future(batcher.submit(work(float(i)), call(), None)) for i in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(HeadraceError) as refused:
            await batcher.submit(work(3.0), call(), None)
        assert refused.value.reason == "QUEUE_FULL"
        assert refused.value.retry_after_s
        gate.set()
        assert [numbers(one) for one in await asyncio.gather(running, *waiting)] == [[0.0], [2.0], [4.0]]


async def test_the_hand_over_to_an_instance_and_back_is_learned_beside_the_batch() -> None:
    """Which sizes pay follows from both: threads have to be waited for."""
    async with batching(Doubling()) as batcher:
        await batcher.submit(work(1.0), call(), None)
        ((_, curve),) = batcher.curves()
    (seen,) = curve.bins.values()
    assert seen.occupied_s > seen.unit_s > 0


async def test_a_patient_queue_is_cut_at_the_end_of_its_delay() -> None:
    """An instance that stays idle is woken by the first request's delay."""
    seen: list[Batch] = []
    policy = BatchPolicy(max_batch_size=4, max_delay_s=0.02, eager=False)
    async with batching(Doubling(), policy, 1, seen.append) as batcher:
        assert numbers(await batcher.submit(work(3.0), call(), None)) == [6.0]
    assert [batch.why for batch in seen] == ["delay"]


async def test_a_batchs_time_is_shared_by_its_rows() -> None:
    """Each request has its rows' share and no more, and the shares are the whole to the nanosecond."""
    seen: list[Batch] = []
    async with batching(Doubling(), BatchPolicy(max_batch_size=8), 1, seen.append) as batcher:
        outcomes = await asyncio.gather(
            *(batcher.submit(work(float(rows), rows), call(), None) for rows in (1, 2, 4))
        )
    (batch,) = seen
    assert batch.executed.cpu_ns > 0
    assert sum(outcome.cpu_ns for outcome in outcomes) == batch.executed.cpu_ns
    assert [outcome.cpu_ns * 7 // batch.executed.cpu_ns for outcome in outcomes] == pytest.approx(
        [1, 2, 4], abs=1
    )


async def test_each_request_knows_its_place_in_its_batch() -> None:
    """Its position is the rows before its own, in the batch that executed it."""
    async with batching(Doubling(), BatchPolicy(max_batch_size=8)) as batcher:
        outcomes = await asyncio.gather(
            *(batcher.submit(work(float(rows), rows), call(), None) for rows in (1, 2, 4))
        )
    assert [(one.position, one.batch_rows) for one in outcomes] == [(0, 7), (1, 7), (3, 7)]


async def test_the_wait_for_company_is_while_an_instance_is_free() -> None:
    """From the request's entry, or from when the instance came back, until the batch is cut."""
    clock, seen = SetClock(10.0), list[Batch]()
    policy = BatchPolicy(max_batch_size=2, max_delay_s=3600.0, eager=False)
    gate = threading.Event()
    batcher = Batcher(Doubling(gate=gate), policy, 1, clock, seen.append)
    waiting = []
    for now in (12.0, 15.0, 17.0):  # the first two fill a batch, which the gate holds
        clock.now = now
        waiting.append(asyncio.create_task(batcher.submit(work(now), call(), None)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    clock.now = 20.0
    gate.set()
    await asyncio.gather(*waiting[:2])
    clock.now = 26.0
    await asyncio.gather(waiting[2], batcher.submit(work(1.0), call(), None))
    await batcher.close()
    waits = [[batch.wait_ns(ticket) / 1e9 for ticket in batch.tickets] for batch in seen]
    assert waits == [[3.0, 0.0], [6.0, 0.0]]


async def test_the_queues_time_begins_in_the_queue() -> None:
    """What a request did before (its limits, its look-ups) is no time in the queue."""
    async with batching(Doubling()) as batcher:
        early = Call("/test", {}, ANONYMOUS, CLOCK.monotonic() - 1000.0)
        outcome = await batcher.submit(work(1.0), early, None)
    assert 0 <= outcome.queue_ns < 999e9


async def test_closing_answers_those_who_wait() -> None:
    """Nobody hangs on a batcher that goes."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    batcher = Batcher(backend, BatchPolicy(max_batch_size=4), 1, CLOCK, lambda _: None)
    running = asyncio.ensure_future(batcher.submit(work(0.0), call(), None))
    await started(backend)
    waiting = asyncio.ensure_future(batcher.submit(work(1.0), call(), None))
    await asyncio.sleep(0)
    gate.set()
    await batcher.close()
    with pytest.raises(HeadraceError, match="MODEL_NOT_READY"):
        await waiting
    assert numbers(await running) == [0.0]


async def test_an_answered_request_leaves_nothing_behind() -> None:
    """Its tensors go with its last reference, not when the garbage collector comes by."""
    async with batching(Doubling()) as batcher:
        gc.collect()
        gc.disable()
        try:
            await asyncio.gather(*(batcher.submit(work(float(i)), call(), None) for i in range(4)))
            left: list[object] = []
            for _ in range(100):
                await asyncio.to_thread(int)  # the instance's thread may not have let go of its batch yet
                left = [
                    one for one in gc.get_objects() if isinstance(one, Work | Outcome) and one is not NO_WORK
                ]
                if not left:
                    break
        finally:
            gc.enable()
    assert left == []
