"""The steps of an ensemble in their models' queues: together, apart, failing, left, charged. Real threads."""

import asyncio
import threading

import numpy as np
import pytest

from headrace.inference.core.graph import Graph
from headrace.inference.core.policy import BatchPolicy, QueuePolicy
from headrace.inference.core.tensors import Signature, TensorSpec
from headrace.inference.entry import EnsembleFace, EntryChecks
from headrace.inference.execution import Work
from headrace.inference.member import Member
from headrace.metering.client import UsageKind
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.steps import CHAIN, CLOCK, FORK, executing, stand
from tests.support.waiting import aeventually


async def test_a_step_takes_what_the_one_before_gives() -> None:
    """Times add up; the batch is that of the step that took longest, the charge is both."""
    async with stand() as one:
        outcome = await one.ask(3.0)
        assert np.frombuffer(outcome.answer.values[0], np.float32).tolist() == [12.0, 12.0]
        assert outcome.cpu_ns == sum(batch.executed.cpu_ns for batch in one.batches)
        spans = [batch.executed.ended_ns - batch.executed.started_ns for batch in one.batches]
        assert outcome.ended_ns - outcome.started_ns == sum(spans)
        assert one.passed[0].queue_ns == outcome.queue_ns > 0
        assert one.usage.events == []  # the service charges an answer


async def test_each_step_is_batched_with_others_of_its_model() -> None:
    """Those of the ensemble and those that came to the model itself, in one batch."""
    gate = threading.Event()
    async with stand(gates=(None, gate)) as one:
        first = asyncio.create_task(one.answers(1.0))
        await executing(one.backends[1])  # the second model is busy; who comes now shares its next batch
        others = [asyncio.create_task(one.answers(float(number))) for number in (2, 3)]
        raw = np.full((1, 2), 50, np.float32).tobytes()
        call = Call("/test", {}, Caller("other", frozenset()), CLOCK.monotonic())
        direct = asyncio.create_task(one.members[1].executor.submit(Work(1, [(1, 2)], [raw]), call, None))
        await aeventually(lambda: one.members[1].executor.waiting == 3)
        gate.set()
        assert await first == [4.0]
        assert [await other for other in others] == [[8.0], [12.0]]
        assert np.frombuffer((await direct).answer.values[0], np.float32)[0] == 100.0
        assert sorted(one.backends[1].runs[1]) == [4.0, 6.0, 50.0]


async def test_steps_that_are_ready_run_beside_each_other() -> None:
    """Neither waits for the other: both run before either may end."""
    gate = threading.Event()
    async with stand(FORK, gates=(gate, gate)) as one:
        asked = asyncio.create_task(one.answers(2.0))
        for backend in one.backends:
            await executing(backend)
        gate.set()
        assert await asked == [4.0, 4.0]


async def test_a_steps_failure_is_the_requests_and_names_the_step() -> None:
    """It is charged once, for both steps; others are answered."""
    async with stand() as one:
        one.backends[1].poison = 6.0
        with pytest.raises(HeadraceError) as error:
            await one.ask(3.0)
        assert (error.value.reason, error.value.metadata["model"]) == ("EXECUTION_FAILED", "doubling")
        assert (error.value.metadata["ensemble"], error.value.metadata["step"]) == ("whole", "1")
        assert "ensemble 'whole', step 1: " in error.value.message
        spent = sum(batch.executed.cpu_ns for batch in one.batches)
        (event,) = one.usage.events
        assert (event.model, event.kind, event.cpu_ns) == ("whole", UsageKind.FAILED, spent)
        assert await one.answers(1.0) == [4.0]
        assert one.ensemble.history.counts.failed == 1


async def test_what_one_step_raises_ends_the_others() -> None:
    """The other one waits in its queue: it leaves it, and is not executed."""
    gate = threading.Event()
    async with stand(FORK, gates=(None, gate), policy=BatchPolicy(max_batch_size=1)) as one:
        busy = asyncio.create_task(one.ask(1.0))
        await executing(one.backends[1])
        one.backends[0].poison = 3.0
        with pytest.raises(HeadraceError, match="step 0"):
            await one.ask(3.0)
        assert one.members[1].executor.waiting == 0
        gate.set()
        await busy
        assert one.backends[1].runs == [[1.0, 1.0][:1]]


async def test_who_leaves_costs_no_further_step() -> None:
    """The step that runs ends, and is charged with those before it, once; the next one is never begun."""
    gate = threading.Event()
    async with stand(gates=(gate, None)) as one:
        asked = asyncio.create_task(one.ask(3.0))
        await executing(one.backends[0])
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert one.usage.events == []  # nobody knows yet what it will have cost
        gate.set()
        await aeventually(lambda: len(one.usage.events) == 1)
        (event,) = one.usage.events
        assert (event.model, event.kind) == ("whole", UsageKind.CANCELLED)
        assert event.cpu_ns == one.batches[0].executed.cpu_ns > 0
        assert one.backends[1].runs == []
        assert not one.ensemble.working


async def test_who_leaves_while_the_second_step_runs_is_charged_for_both_at_its_end() -> None:
    """One charge, when it is known: two under one key would be counted as one."""
    gate = threading.Event()
    async with stand(gates=(None, gate)) as one:
        asked = asyncio.create_task(one.ask(3.0))
        await executing(one.backends[1])
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert one.usage.events == []
        gate.set()
        await aeventually(lambda: len(one.usage.events) == 1)
        assert one.usage.events[0].cpu_ns == sum(batch.executed.cpu_ns for batch in one.batches)
        assert len(one.batches) == 2


async def test_who_leaves_the_second_queue_is_charged_for_the_first_step() -> None:
    """At once: nothing of it runs any more."""
    gate = threading.Event()
    async with stand(gates=(None, gate), policy=BatchPolicy(max_batch_size=1)) as one:
        busy = asyncio.create_task(one.ask(1.0))
        await executing(one.backends[1])
        asked = asyncio.create_task(one.ask(3.0))
        await aeventually(lambda: one.members[1].executor.waiting == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        (event,) = one.usage.events
        assert (event.kind, event.cpu_ns) == (UsageKind.CANCELLED, one.batches[1].executed.cpu_ns)
        gate.set()
        await busy


async def test_one_more_than_may_be_in_it_is_refused() -> None:
    """Exactly; and it has cost nothing."""
    gate = threading.Event()
    async with stand(gates=(gate, None), most=2) as one:
        inside = [asyncio.create_task(one.answers(float(number))) for number in (1, 2)]
        await executing(one.backends[0])
        with pytest.raises(HeadraceError) as error:
            await one.ask(3.0)
        assert (error.value.reason, error.value.metadata["max_queue"]) == ("QUEUE_FULL", "2")
        gate.set()
        assert [await asked for asked in inside] == [[4.0], [8.0]]
        assert one.usage.events == []
        assert await one.answers(3.0) == [12.0]


async def test_of_each_step_as_many_are_in_flight_as_may_be() -> None:
    """Triton's max_inflight_requests: the others wait before the step, until their deadline."""
    gate = threading.Event()
    async with stand(gates=(None, gate), step_most=1) as one:
        first = asyncio.create_task(one.answers(1.0))
        await executing(one.backends[1])
        second = asyncio.create_task(one.answers(2.0))
        await aeventually(lambda: one.ensemble.waiting == 1)
        assert one.members[1].executor.waiting == 0
        with pytest.raises(HeadraceError) as error:
            await one.ask(3.0, deadline=CLOCK.monotonic() + 0.05)
        assert error.value.reason == "DEADLINE_EXCEEDED"
        gate.set()
        assert (await first, await second) == ([4.0], [8.0])
        assert [len(run) for run in one.backends[1].runs] == [1, 1]


async def test_a_deadline_holds_in_every_step() -> None:
    """The second queue refuses what is too late by then; the first step is charged."""
    gate = threading.Event()
    async with stand(gates=(None, gate), policy=BatchPolicy(max_batch_size=1)) as one:
        busy = asyncio.create_task(one.ask(1.0))
        await executing(one.backends[1])
        with pytest.raises(HeadraceError) as error:
            await one.ask(3.0, deadline=CLOCK.monotonic() + 0.1)
        assert error.value.reason == "DEADLINE_EXCEEDED"
        assert error.value.metadata["step"] == "1"
        gate.set()
        await busy
        assert one.backends[1].runs == [[2.0]]
        assert [event.kind for event in one.usage.events] == [UsageKind.FAILED]


async def test_a_priority_holds_in_every_step() -> None:
    """The higher one passes the lower one that waits in the second queue already."""
    gate = threading.Event()
    levels = BatchPolicy(
        max_batch_size=1, levels=(QueuePolicy(), QueuePolicy()), default_level=2, aging_s=60.0
    )
    async with stand(gates=(None, gate), policy=levels) as one:
        busy = asyncio.create_task(one.ask(1.0))
        await executing(one.backends[1])
        low = asyncio.create_task(one.ask(2.0))
        await aeventually(lambda: one.members[1].executor.waiting == 1)
        high = asyncio.create_task(one.ask(3.0, priority=1))
        await aeventually(lambda: one.members[1].executor.waiting == 2)
        gate.set()
        await asyncio.gather(busy, low, high)
        assert one.backends[1].runs == [[2.0], [6.0], [4.0]]


async def test_what_a_model_would_not_take_is_refused_before_any_step() -> None:
    """Free dimensions of the ensemble that are fixed in the model, and rows that are more than it takes."""
    async with stand() as one:
        free = Signature("whole", (TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (2,)),), 4)
        graph = Graph(free, CHAIN)
        checks = EntryChecks(graph, one.members)
        assert checks.problem(Work(1, [(1, 2)], [b""])) == ""
        assert checks.problem(Work(1, [(1, 3)], [b""])) == "expected shape [-1, 2], got [1, 3] for input 'x'"
        assert EnsembleFace(graph, one.members).problem([b""]) == ""


async def test_an_output_that_is_no_input_fails_the_request_alone() -> None:
    """What a step gives is looked at as a caller's tensor is; here it has a dimension too many."""
    async with stand() as one:
        broken = TensorSpec("x", "FP32", (3,))
        one.members[1] = Member(
            "two",
            one.members[1].face,
            one.members[1].executor,
            one.members[1].timings,
            None,
            ((broken, "t", True),),
            ((0, "y"),),
        )
        with pytest.raises(HeadraceError) as error:
            await one.ask(1.0)
        assert error.value.reason == "EXECUTION_FAILED"
        assert one.backends[1].runs == []
