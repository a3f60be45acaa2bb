"""A request's way through the replica: checked, admitted, answered, recorded; or none of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest

from headrace.cache.client import AnswerKeys
from headrace.guard.client import Outcome as Ending
from headrace.inference.answers import Answers, Inference, asked_of
from headrace.inference.batcher import Batcher, Outcome
from headrace.inference.batching import Timings
from headrace.inference.core.policy import BatchPolicy
from headrace.inference.decoder import Decoder
from headrace.inference.encoder import Encoder
from headrace.inference.execution import Work
from headrace.inference.load import LoadMeter
from headrace.inference.models import Model, Models
from headrace.inference.service import InferenceService
from headrace.inference.statistics import InferenceMetrics, Statistics
from headrace.inference.told import EXPLAIN
from headrace.inference.usage import Usage
from headrace.inference.v2.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.inference.v2.model_config_pb2 import ModelConfig
from headrace.metering.client import UsageKind
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller
from headrace.runtime.telemetry import quiet
from tests.fakes.inference import Doubling, TwoCores
from tests.fakes.neighbours import Doorkeeper, Recorder, Shelf

CLOCK = SystemClock()


@dataclass
class Replica:
    """A service with one model, and all that stands around it."""

    service: InferenceService
    backend: Doubling
    door: Doorkeeper
    usage: Recorder
    shelf: Shelf
    model: Model

    async def infer(
        self,
        number: float = 1.0,
        metadata: Mapping[str, str | bytes] | None = None,
        *,
        tenant: str = "acme",
        **parameters: int,
    ) -> tuple[list[float], dict[str, str]]:
        call = Call("/test", metadata or {}, Caller(tenant, frozenset()), CLOCK.monotonic())
        message = request(number)
        for name, value in parameters.items():
            message.parameters[name].int64_param = value
        data = await self.service.infer(message, call, encoded)
        answer = ModelInferResponse.FromString(data)
        return np.frombuffer(answer.raw_output_contents[0], np.float32).tolist(), dict(call.trailing)


def encoded(done: Inference) -> bytes:
    return done.encoded("q")


def request(number: float, columns: int = 2) -> ModelInferRequest:
    raw = np.full((1, columns), number, np.float32).tobytes()
    message = ModelInferRequest(model_name="doubling", raw_input_contents=[raw])
    message.inputs.add(name="x", datatype="FP32", shape=[1, columns])
    return message


@asynccontextmanager
async def replica(
    *,
    cacheable: bool = False,
    gate: threading.Event | None = None,
    door: Doorkeeper | None = None,
    usage: Recorder | None = None,
    digest: str = "digest",
    shelf: Shelf | None = None,
) -> AsyncIterator[Replica]:
    (telemetry, _), backend = quiet(), Doubling(gate=gate)
    door, usage, shelf = door or Doorkeeper(), usage or Recorder(price=5), shelf or Shelf()
    recorded = Usage(usage, CLOCK, "doubling", "1")
    model = Model(
        "doubling",
        "1",
        ModelConfig(),
        backend,
        Batcher(backend, BatchPolicy(max_batch_size=1), 1, CLOCK, recorded.executed),
        Decoder(backend.signature),
        Encoder(backend.signature, "1"),
        Statistics("doubling", "1", InferenceMetrics(telemetry.registry)),
        recorded,
        Timings("doubling", BatchPolicy()),
        digest,
        cacheable,
    )
    answers = Answers(shelf, AnswerKeys(b"s" * 32), 60.0)
    models = Models([model])
    load = LoadMeter(models, TwoCores(), CLOCK)
    service = InferenceService(models, answers, door, usage, load, telemetry.tracer, CLOCK, "inference-0")
    try:
        yield Replica(service, backend, door, usage, shelf, model)
    finally:
        await model.batcher.close()


async def test_an_answer_tells_what_it_cost() -> None:
    """The cost that was recorded, its currency, and the timings."""
    async with replica() as one:
        values, told = await one.infer(3.0)
    assert values == [6.0, 6.0]
    assert (told["headrace-cost-nanos"], told["headrace-currency"]) == ("5", "USD")
    assert "headrace-cache" not in told  # nobody asked a cache
    assert [event.kind for event in one.usage.events] == [UsageKind.EXECUTED]
    assert one.usage.events[0].response_bytes > 0
    assert one.door.endings == [Ending.SUCCESS]


async def test_without_prices_no_cost_is_told() -> None:
    """A cost that nobody knows is not zero."""
    async with replica(usage=Recorder()) as one:
        _, told = await one.infer()
    assert "headrace-cost-nanos" not in told


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
    """A batcher that notes by when it is asked, and is full. `refusal` is what it says before."""

    def __init__(self, refusal: HeadraceError | None = None) -> None:
        self.deadlines: list[float | None] = []
        self.refusal = refusal

    def refuses(self, work: Work, call: Call, deadline: float | None) -> HeadraceError | None:
        return self.refusal

    async def submit(self, work: Work, call: Call, deadline: float | None) -> Outcome:
        self.deadlines.append(deadline)
        raise HeadraceError("QUEUE_FULL", "full")


async def test_the_queue_knows_the_deadline_of_a_request_whose_answer_is_cached() -> None:
    """Its caller's, not the model's own: what can't be in time has to be refused at entry."""
    queue, deadline = Queue(), CLOCK.monotonic() + 1.0
    async with replica(cacheable=True) as one:
        model = replace(one.model, batcher=cast(Batcher, queue))
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
        model = replace(one.model, batcher=cast(Batcher, queue))
        call = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())
        answers = Answers(one.shelf, AnswerKeys(b"s" * 32), 60.0)
        asked = asked_of(model, request(3.0), call)
        with pytest.raises(HeadraceError, match="QUEUE_FULL" if found else "DEADLINE_INFEASIBLE"):
            await answers.answer(model, asked, call)
    assert len(one.shelf.asked) == int(found)


async def test_who_shares_anothers_work_is_billed_as_that() -> None:
    """No compute of its own, and told from a cache's hit."""
    async with replica(cacheable=True, shelf=Shelf(shared=True)) as one:
        _, told = await one.infer(3.0)
    assert told["headrace-cache"] == "miss"
    assert [(event.kind, event.cpu_ns) for event in one.usage.events] == [(UsageKind.COALESCED, 0)]


async def test_a_key_that_stood_for_another_request_is_refused_before_anything_is_spent() -> None:
    """The second request is neither admitted nor executed."""
    key = {"idempotency-key": "k"}
    async with replica() as one:
        await one.infer(1.0, key)
        with pytest.raises(HeadraceError, match="IDEMPOTENCY_KEY_INVALID"):
            await one.infer(2.0, key)
    assert (len(one.backend.runs), one.door.endings) == (1, [Ending.SUCCESS])


async def test_a_refusal_costs_nothing() -> None:
    """Who is over a limit is neither executed nor billed, and holds no room in the outbox."""
    refusal = HeadraceError("RATE_LIMITED", "over", {}, "guard.headrace")
    async with replica(door=Doorkeeper(refusal=refusal)) as one:
        with pytest.raises(HeadraceError, match="RATE_LIMITED"):
            await one.infer()
    assert (one.backend.runs, one.usage.events, one.usage.reserved) == ([], [], 0)


async def test_bad_input_meets_no_limit() -> None:
    """It is found before the guard is asked, so that it uses nothing up."""
    async with replica() as one:
        call = Call("/test", {}, Caller("acme", frozenset()), CLOCK.monotonic())
        with pytest.raises(HeadraceError, match="TENSOR_INVALID"):
            await one.service.infer(request(1.0, columns=3), call, encoded)
    assert (one.door.endings, one.usage.events, one.usage.reserved) == ([], [], 0)


async def test_the_guard_is_asked_where_no_lease_is() -> None:
    """Then the request waits for its answer, and goes on."""
    async with replica(door=Doorkeeper(asks=True)) as one:
        await one.infer()
    assert (one.door.asked, one.door.endings) == (1, [Ending.SUCCESS])


async def test_a_full_outbox_refuses_before_any_work() -> None:
    """What could not be billed is not done; the permit comes back."""
    async with replica(usage=Recorder(room=0)) as one:
        with pytest.raises(HeadraceError, match="USAGE_OUTBOX_FULL"):
            await one.infer()
    assert (one.backend.runs, one.door.endings) == ([], [Ending.IGNORED])


async def test_a_model_that_fails_is_told_to_the_guard_and_costs_the_caller_nothing() -> None:
    """Its work is recorded as failed, once; the request's own room is given back."""
    async with replica() as one:
        with pytest.raises(HeadraceError, match="EXECUTION_FAILED"):
            await one.infer(-1.0)
    assert one.door.endings == [Ending.FAILURE]
    assert [event.kind for event in one.usage.events] == [UsageKind.FAILED]
    assert one.usage.reserved == 0


async def test_a_caller_who_leaves_pays_for_the_work_that_it_began() -> None:
    """Its share of the batch is recorded when the batch ends; no ending is held against the model."""
    gate = threading.Event()
    async with replica(gate=gate) as one:
        task = asyncio.ensure_future(one.infer())
        await asyncio.to_thread(one.backend.started.acquire, timeout=10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.usage.events == []
        gate.set()
        await one.infer(2.0)
    assert [event.kind for event in one.usage.events] == [UsageKind.CANCELLED, UsageKind.EXECUTED]
    assert one.usage.events[0].cpu_ns >= 0
    assert one.door.endings == [Ending.IGNORED, Ending.SUCCESS]
    assert one.usage.reserved == 0


async def test_a_caller_who_leaves_the_queue_pays_nothing() -> None:
    """Nothing was executed for it, and there is nothing to record."""
    gate = threading.Event()
    async with replica(gate=gate) as one:
        first = asyncio.ensure_future(one.infer(1.0))
        await asyncio.to_thread(one.backend.started.acquire, timeout=10)
        second = asyncio.ensure_future(one.infer(2.0))
        await asyncio.sleep(0)
        second.cancel()
        gate.set()
        await first
    assert [event.kind for event in one.usage.events] == [UsageKind.EXECUTED]
    assert one.usage.reserved == 0
