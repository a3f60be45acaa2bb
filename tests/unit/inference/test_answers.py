"""Where an answer comes from: a cache, another's work, or the model."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from headrace.cache.client import AnswerKeys, Found
from headrace.guard.client import Outcome as Ending
from headrace.inference.answers import Answers, Inference, asked_of
from headrace.inference.batcher import Batcher, Outcome
from headrace.inference.execution import Work
from headrace.inference.told import EXPLAIN
from headrace.inference.v2.grpc_service_pb2 import ModelInferResponse
from headrace.metering.client import UsageKind
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from tests.fakes.neighbours import Shelf
from tests.fakes.replica import CLOCK, Replica, encoded, replica, request


async def test_a_cached_answer_is_the_computed_one() -> None:
    """First a miss, then found; each level is told, and only the first one used the model."""
    async with replica(cacheable=True) as one:
        first, told = await one.infer(3.0)
        assert told["headrace-cache"] == "miss"
        again, told = await one.infer(3.0)
    assert first == again
    assert (told["headrace-cache"], told["headrace-batch-size"]) == ("memory", "0")
    assert [event.kind for event in one.usage.events] == [UsageKind.EXECUTED, UsageKind.CACHED]
    assert [event.cpu_ns > 0 for event in one.usage.events] == [True, False]
    assert [event.stored_bytes > 0 for event in one.usage.events] == [True, False]
    assert len(one.backend.runs) == 1
    counts = one.model.statistics.message().inference_stats
    assert (counts.cache_miss.count, counts.cache_hit.count, counts.success.count) == (1, 1, 2)
    # A cache's answer says nothing of the model: it closes no breaker.
    assert one.door.endings == [Ending.SUCCESS, Ending.IGNORED]


async def test_the_near_cache_is_asked_first() -> None:
    """What it has needs no other look-up."""
    async with replica(cacheable=True) as one:
        await one.infer(3.0)
        one.shelf.near_answers = one.shelf.answers
        _, told = await one.infer(3.0)
    assert told["headrace-cache"] == "near"
    assert len(one.shelf.asked) == 1


@pytest.mark.parametrize("control", ["no-store", "no-cache"])
async def test_a_caller_may_opt_out(control: str) -> None:
    """`cache-control` is HTTP's word for it: nothing is looked up and nothing kept."""
    async with replica(cacheable=True) as one:
        _, told = await one.infer(3.0, {"cache-control": control})
    assert "headrace-cache" not in told
    assert one.shelf.asked == []


async def test_a_key_holds_all_that_an_answer_depends_on() -> None:
    """Tenant, files of the version, inputs, parameters; not those that say when an answer is wanted."""
    shelf = Shelf()
    async with replica(cacheable=True, shelf=shelf) as one:
        await one.infer(3.0)
        await one.infer(4.0)
        await one.infer(3.0, tenant="other")
        await one.infer(3.0, temperature=1)
    async with replica(cacheable=True, shelf=shelf, digest="other files") as one:
        await one.infer(3.0)
    assert len(set(shelf.asked)) == 5
    async with replica(cacheable=True, shelf=shelf) as one:
        await one.infer(3.0, timeout=1_000_000, priority=2)
    assert len(set(shelf.asked)) == 5


async def test_an_answer_that_tells_of_itself_is_the_same_answer() -> None:
    """`headrace_explain` makes no key of its own, and what is kept tells nothing of who asked first."""
    async with replica(cacheable=True) as one:
        message = request(3.0)
        message.parameters[EXPLAIN].bool_param = True
        asking = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())
        await one.service.infer(message, asking, encoded)
        _, told = await one.infer(3.0)
    assert told["headrace-cache"] == "memory"
    assert len(set(one.shelf.asked)) == 1
    (kept,) = one.shelf.answers.values()
    assert not ModelInferResponse.FromString(kept).parameters


class Queue:
    """A batcher that notes by when it is asked, and says that it is `full`. `refusal` is what it says before.

    `behind` has how many were to come before each who was judged.
    """

    def __init__(self, refusal: HeadraceError | None = None, *, refusing: bool = False) -> None:
        self.deadlines: list[float | None] = []
        self.behind: list[int] = []
        self.refusal = refusal
        self.refusing = refusing
        self.full = asyncio.Event()
        self.full.set()

    def refuses(
        self, work: Work, call: Call, deadline: float | None, coming: int = 0
    ) -> HeadraceError | None:
        self.behind.append(coming)
        return self.refusal

    async def submit(self, work: Work, call: Call, deadline: float | None) -> Outcome:
        self.deadlines.append(deadline)
        await self.full.wait()
        raise HeadraceError("QUEUE_FULL", "full")


async def answered_behind(queue: Queue, one: Replica) -> Inference:
    """The replica's answer to one and the same request, with `queue` before its model."""
    model = replace(one.model, executor=cast(Batcher, queue))
    call = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())
    answers = Answers(one.shelf, AnswerKeys(b"s" * 32), 60.0)
    return await answers.answer(model, asked_of(model, request(3.0), call), call)


async def test_the_queue_knows_the_deadline_of_a_request_whose_answer_is_cached() -> None:
    """Its caller's, not the model's own: what can't be in time has to be refused at entry."""
    queue, deadline = Queue(), CLOCK.monotonic() + 1.0
    async with replica(cacheable=True) as one:
        model = replace(one.model, executor=cast(Batcher, queue))
        call = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic(), deadline)
        answers = Answers(one.shelf, AnswerKeys(b"s" * 32), 60.0)
        with pytest.raises(HeadraceError, match="QUEUE_FULL"):
            await answers.answer(model, asked_of(model, request(3.0), call), call)
    assert queue.deadlines == [deadline]


@pytest.mark.parametrize("found", [True, False])
async def test_what_would_be_refused_is_looked_up_where_answers_are_found(*, found: bool) -> None:
    """A hit needs no model; look-ups that find nothing would take from those who are served."""
    queue = Queue(HeadraceError("DEADLINE_INFEASIBLE", "too late"))
    async with replica(cacheable=True) as one:
        for _ in range(1000):
            one.model.lookups.ended(hit=found)
        with pytest.raises(HeadraceError, match="QUEUE_FULL" if found else "DEADLINE_INFEASIBLE"):
            await answered_behind(queue, one)
    assert len(one.shelf.asked) == int(found)


@pytest.mark.parametrize("found", [True, False])
async def test_a_model_that_refuses_some_looks_nobody_up_in_vain(*, found: bool) -> None:
    """Whom it takes neither: where answers are rare one of sixteen is looked up, so that it is seen when they are not."""
    queue = Queue(refusing=True)
    async with replica(cacheable=True) as one:
        for _ in range(1000):
            one.model.lookups.ended(hit=found)
        for _ in range(32):
            with pytest.raises(HeadraceError, match="QUEUE_FULL"):
                await answered_behind(queue, one)
    assert len(queue.deadlines) == 32
    assert len(one.shelf.asked) == (32 if found else 2)


async def test_what_is_worked_out_already_is_not_refused() -> None:
    """It needs no place in the queue: it shares what is under way."""
    queue = Queue(HeadraceError("DEADLINE_INFEASIBLE", "too late"))
    async with replica(cacheable=True) as one:
        await one.infer(3.0)
        one.shelf.under_way = set(one.shelf.answers)
        shared = await answered_behind(queue, one)
    assert shared.level == "memory"
    assert queue.behind == []


async def test_who_is_looked_up_is_on_the_way_to_the_model() -> None:
    """Those of the same tenant who are judged meanwhile are behind it; nobody is once it has come there, or has left."""
    queue, going = Queue(), asyncio.Event()

    class Slow(Shelf):
        async def find(self, key: bytes, *arguments: Any, **more: Any) -> Found:
            await going.wait()
            return await super().find(key, *arguments, **more)

    async with replica(cacheable=True, shelf=Slow()) as one:
        model = replace(one.model, executor=cast(Batcher, queue))
        answers = Answers(one.shelf, AnswerKeys(b"s" * 32), 60.0)

        def asked(number: float, tenant: str) -> asyncio.Task[Inference]:
            call = Call("/test", {}, Caller(tenant, frozenset()), CLOCK.monotonic())
            return asyncio.create_task(answers.answer(model, asked_of(model, request(number), call), call))

        asking = [asked(1.0, "acme"), asked(2.0, "acme"), asked(3.0, "other"), asked(4.0, "acme")]
        await asyncio.sleep(0)
        assert queue.behind == [0, 1, 0, 2]
        asking[0].cancel()
        await asyncio.sleep(0)
        asking.append(asked(5.0, "acme"))
        await asyncio.sleep(0)
        assert queue.behind[4:] == [2]
        queue.full.clear()
        going.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(queue.deadlines) == 4
        assert [model.lookups.coming.count(tenant) for tenant in ("acme", "other")] == [0, 0]
        queue.full.set()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_who_shares_anothers_work_is_billed_as_that() -> None:
    """No compute of its own, and told from a cache's hit."""
    async with replica(cacheable=True, shelf=Shelf(shared=True)) as one:
        _, told = await one.infer(3.0)
    assert told["headrace-cache"] == "miss"
    assert [(event.kind, event.cpu_ns) for event in one.usage.events] == [(UsageKind.COALESCED, 0)]
