"""Answers reach whom they are for, and in order where a model preserves it."""

import asyncio
import threading

from headrace.inference.batch import Job, Ticket, executed
from headrace.inference.batcher import Batch, Batcher
from headrace.inference.core.cutting import Cut
from headrace.inference.core.policy import BatchPolicy, QueuePolicy, TimeoutAction
from headrace.runtime.rpc import Call, Caller
from tests.fakes.inference import Doubling
from tests.fakes.neighbours import SetClock
from tests.unit.inference.test_batcher import CLOCK, batching, call, numbers, started, work


async def test_an_answer_of_another_request_is_handed_to_nobody() -> None:
    """A tag that is not the request's makes it INTERNAL, and is counted; the others are answered."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    async with batching(backend) as batcher:
        works = [work(float(i)) for i in range(3)]
        waiting = [asyncio.ensure_future(batcher.submit(one, call(), None)) for one in works]
        await started(backend)
        works[0].tag, works[1].tag = works[1].tag, works[0].tag  # as a mix-up of rows would
        gate.set()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(one, "reason", "answered") for one in outcomes] == [
        "EXECUTION_FAILED",
        "EXECUTION_FAILED",
        "answered",
    ]
    assert batcher.history.counts.mixed_up == 2


async def test_a_fault_of_ours_behind_a_batch_costs_none_of_its_callers_the_answer() -> None:
    """Whatever goes wrong with what comes next: they are told, and the model goes on."""

    def observe(_: Batch) -> None:
        raise AssertionError("a fault of ours")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with (
        batching(Doubling(), BatchPolicy(max_batch_size=4), 1, observe) as batcher,
        asyncio.timeout(10),
    ):
        for _ in range(2):
            outcomes = await asyncio.gather(*(batcher.submit(work(float(i)), call(), None) for i in range(4)))
            assert [numbers(one) for one in outcomes] == [[0.0], [2.0], [4.0], [6.0]]


async def test_a_delayed_request_gets_its_answer() -> None:
    """Put back when its timeout has passed, it is still the same request: each DELAY that came true was INTERNAL once."""
    clock, gate = SetClock(0.0), threading.Event()
    backend = Doubling(gate=gate)
    delaying = QueuePolicy(8, 1.0, TimeoutAction.DELAY)
    batcher = Batcher(backend, BatchPolicy(max_batch_size=1, levels=(delaying,)), 1, clock, lambda _: None)
    ahead = asyncio.ensure_future(batcher.submit(work(1.0), call(), None))
    await started(backend)
    late = work(2.0)
    late.start_by, late.delays = 1.0, True
    waiting = asyncio.ensure_future(batcher.submit(late, call(), None))
    await asyncio.sleep(0)
    clock.now = 2.0
    gate.set()
    assert [numbers(one) for one in await asyncio.gather(ahead, waiting)] == [[2.0], [4.0]]
    await batcher.close()


async def test_ordered_answers_leave_in_the_order_of_their_requests() -> None:
    """A batch that ends early is executed at once and told when its tenant's earlier one is."""
    gate = threading.Event()
    backend = Doubling(gate=gate, max_batch_size=1)
    told: list[float] = []

    async def one(batcher: Batcher, number: float, tenant: str) -> None:
        caller = Call("/test", {}, Caller(tenant, frozenset()), CLOCK.monotonic())
        told.extend(numbers(await batcher.submit(work(number), caller, None)))

    backend.hold = 1.0
    async with batching(backend, BatchPolicy(max_batch_size=1, ordered=True), 2) as batcher:
        waiting = [
            asyncio.ensure_future(one(batcher, number, tenant))
            for number, tenant in ((1.0, "a"), (2.0, "a"), (3.0, "b"))
        ]
        for _ in range(3):
            await started(backend)
        await asyncio.wait(waiting[2:])
        assert [2.0] in backend.runs  # executed, and held back
        assert told == [6.0]
        gate.set()
        await asyncio.gather(*waiting)
    assert told == [6.0, 2.0, 4.0]


async def test_a_request_that_left_holds_no_ordered_answer_back() -> None:
    """Its place in the order goes with it, from the queue and from a batch."""
    gate = threading.Event()
    backend = Doubling(gate=gate)
    async with batching(backend, BatchPolicy(max_batch_size=1, ordered=True)) as batcher:
        waiting = [asyncio.ensure_future(batcher.submit(work(float(i)), call(), None)) for i in range(3)]
        await started(backend)
        for left in waiting[:2]:
            left.cancel()
        gate.set()
        assert numbers(await waiting[2]) == [4.0]
    assert backend.runs == [[0.0], [2.0]]


async def test_who_leaves_between_the_cut_and_the_start_is_not_executed() -> None:
    """The instance looks once more before it begins."""
    backend = Doubling()
    tickets = [
        Ticket(1, (), 0.0, None, work(float(i)), call(), asyncio.get_running_loop().create_future())
        for i in range(3)
    ]
    tickets[1].waiter.cancel()
    batch = executed(backend, Job(Cut(tickets, 3, "idle"), 0.0, 0.0), (), 0)
    assert backend.runs == [[0.0, 2.0]]
    assert batch.tickets == [tickets[0], tickets[2]]
