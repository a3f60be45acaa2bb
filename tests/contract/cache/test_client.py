"""A replica's cached answers over a real service: levels, single flight, the near-cache, and a service that goes away."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import grpc
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from headrace.cache.app import Cache, build
from headrace.cache.client import AnswerKeys, CacheClient, CachedAnswers, Found, Uncached, caching
from headrace.cache.settings import Settings
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from headrace.runtime.telemetry import quiet
from tests.contract.cache.conftest import client_of, until

KEYS = AnswerKeys(bytes(range(32)))


def key_of(number: int, tenant: str = "acme") -> bytes:
    data = number.to_bytes(8, "little")
    return KEYS.key(KEYS.prefix(tenant, "linear", "d"), [("x", "INT64", (1,), data)], {}, ())


class Model:
    """Works answers out, counts how often, and waits for `going` where it is set."""

    def __init__(self, value: bytes = b"answer", error: Exception | None = None) -> None:
        self.value, self.error = value, error
        self.runs = self.cancelled = 0
        self.going = asyncio.Event()
        self.going.set()

    async def __call__(self) -> tuple[bytes, object]:
        self.runs += 1
        try:
            await self.going.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.value, {"run": self.runs}


async def find(
    answers: CachedAnswers, number: int, model: Callable[[], Awaitable[tuple[bytes, object]]]
) -> Found:
    return await answers.find(key_of(number), "acme", "linear", model)


async def heard(answers: CachedAnswers) -> None:
    """Waits until the near-cache is on: then it keeps what it is given."""
    model = Model()

    async def kept() -> bool:
        await find(answers, 0, model)
        return answers.near(key_of(0)) is not None

    for _ in range(200):
        if await kept():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the near-cache was never on")


async def written(cache: Cache, entries: int) -> None:
    """Waits until the service has so many entries, the one of `heard` among them."""
    await until(lambda: cache.levels.states()[0].entries == entries, "answers are written")


@pytest.mark.parametrize("value", [b"", b"answer", bytes(200_000)])
async def test_an_answer_is_computed_once(answers: CachedAnswers, value: bytes) -> None:
    """Then this process has it; the one who computed gets back what its work made. An empty answer is one."""
    await heard(answers)
    model = Model(value)
    assert answers.near(key_of(1)) is None
    assert await find(answers, 1, model) == Found(value, "miss", made={"run": 1})
    assert answers.near(key_of(1)) == value
    assert model.runs == 1


async def test_another_replica_has_it_from_the_service(
    cache: Cache, answers: CachedAnswers, memory_only: Settings
) -> None:
    """From its memory, with no work and nothing made."""
    await heard(answers)
    async with client_of(memory_only) as other:
        await find(answers, 1, Model())
        model = Model(b"other")
        await written(cache, 2)
        assert await find(other, 1, model) == Found(b"answer", "memory")
        assert model.runs == 0


async def test_whoever_is_not_to_ask_computes(
    cache: Cache, answers: CachedAnswers, memory_only: Settings
) -> None:
    """Though the service has it: once for all who ask now, and kept as any answer is."""
    await heard(answers)
    await find(answers, 1, Model())
    await written(cache, 2)
    async with client_of(memory_only) as other:
        model = Model(b"own")
        model.going.clear()
        assert not other.flying(key_of(1))
        first = asyncio.create_task(other.find(key_of(1), "acme", "linear", model, ask=False))
        await until(lambda: model.runs, "the work begins")
        assert other.flying(key_of(1))
        second = asyncio.create_task(find(other, 1, model))
        await asyncio.sleep(0)
        model.going.set()
        assert {(await one).value for one in (first, second)} == {b"own"}
        assert (model.runs, other.flying(key_of(1))) == (1, False)


async def test_a_stampede_costs_one_run(answers: CachedAnswers) -> None:
    """A hundred callers of one question: one computed, ninety-nine coalesced, one answer."""
    model = Model()
    model.going.clear()
    asking = [asyncio.create_task(find(answers, 1, model)) for _ in range(100)]
    await until(lambda: model.runs, "the work begins")
    model.going.set()
    results = await asyncio.gather(*asking)
    assert model.runs == 1
    assert [result.coalesced for result in results].count(False) == 1
    assert [result.made for result in results].count({"run": 1}) == 1
    assert {result.value for result in results} == {b"answer"}


async def test_a_leaders_cancellation_is_its_own(answers: CachedAnswers) -> None:
    """The follower gets the answer and what was made; only without any of them the work ends."""
    model = Model()
    model.going.clear()
    leader = asyncio.create_task(find(answers, 1, model))
    await until(lambda: model.runs, "the work begins")
    follower = asyncio.create_task(find(answers, 1, model))
    await asyncio.sleep(0)
    leader.cancel()
    await asyncio.sleep(0)
    model.going.set()
    assert await follower == Found(b"answer", "miss", made={"run": 1})
    assert (model.runs, model.cancelled) == (1, 0)
    model.going.clear()
    alone = asyncio.create_task(find(answers, 2, model))
    await until(lambda: model.runs == 2, "the work begins")
    alone.cancel()
    await until(lambda: model.cancelled, "the work ends")


async def test_a_failure_is_not_kept(answers: CachedAnswers) -> None:
    """It goes to all who waited, and the next one computes again."""
    failing = Model(error=HeadraceError("QUEUE_FULL", "full"))
    failing.going.clear()
    asking = [asyncio.create_task(find(answers, 1, failing)) for _ in range(3)]
    await until(lambda: failing.runs, "the work begins")
    failing.going.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(result) for result in results] == [HeadraceError] * 3
    assert (await find(answers, 1, Model())).level == "miss"


async def test_what_an_operator_invalidates_is_gone_here_too(
    answers: CachedAnswers, channel: grpc.aio.Channel
) -> None:
    """Within a moment, of the named tenant alone."""
    await heard(answers)
    await find(answers, 1, Model())
    await answers.find(key_of(1, "globex"), "globex", "linear", Model())
    await CacheClient(channel).invalidate(tenant="acme")
    await until(lambda: answers.near(key_of(1)) is None, "the near-cache forgets")
    assert answers.near(key_of(1, "globex")) == b"answer"
    assert (await find(answers, 1, Model(b"new"))).value == b"new"


async def test_an_answer_begun_before_an_invalidation_is_not_kept(
    answers: CachedAnswers, channel: grpc.aio.Channel
) -> None:
    """It is answered, since it was asked for before; and the next one asks the model."""
    await heard(answers)
    model = Model(b"old")
    model.going.clear()
    asking = asyncio.create_task(find(answers, 1, model))
    await until(lambda: model.runs, "the work begins")
    await CacheClient(channel).invalidate(tenant="acme")
    await until(lambda: answers.near(key_of(0)) is None, "the near-cache forgets")
    model.going.set()
    assert (await asking).value == b"old"
    await asyncio.sleep(0.1)
    assert await find(answers, 1, Model(b"new")) == Found(b"new", "miss", made={"run": 1})


async def test_without_the_service_everything_is_computed(memory_only: Settings) -> None:
    """No error, single flight all the same, and the near-cache off; it comes back with the service."""
    async with client_of(memory_only) as answers:
        assert (await find(answers, 1, Model())).level == "miss"
        assert answers.near(key_of(1)) is None
        async with build(memory_only):
            await heard(answers)
        await until(lambda: answers.near(key_of(0)) is None, "the near-cache goes off with the stream")
        assert (await find(answers, 0, Model())).level == "miss"


async def test_a_look_up_is_a_child_of_the_request(cache: Cache, memory_only: Settings) -> None:
    """The service's span hangs below the client's, the client's below the call's; each names the level."""
    telemetry, spans = quiet()
    request = telemetry.tracer.start_span("request")
    async with caching(f"unix:{memory_only.socket}", SystemClock(), telemetry, budget_s=1.0) as answers:
        await answers.find(key_of(1), "acme", "linear", Model(), span=request)
    (look_up,) = spans.get_finished_spans()
    assert (look_up.name, look_up.kind) == ("cache", SpanKind.CLIENT)
    assert look_up.parent == request.get_span_context()
    assert look_up.attributes == {"headrace.cache.level": "miss"}


async def test_a_look_up_that_nobody_answered_says_so(memory_only: Settings) -> None:
    """Its span names no level, since none was asked: it names the gRPC code, and then that the breaker is open."""
    telemetry, spans = quiet()
    request = telemetry.tracer.start_span("request")
    async with caching(f"unix:{memory_only.socket}", SystemClock(), telemetry, budget_s=1.0) as answers:
        for number in range(1, 8):
            await answers.find(key_of(number), "acme", "linear", Model(), span=request)
    told = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert (told[0], told[-1]) == ({"error.type": "UNAVAILABLE"}, {"error.type": "breaker_open"})
    assert {span.status.status_code for span in spans.get_finished_spans()} == {StatusCode.ERROR}


async def test_no_cache_computes_each_time() -> None:
    """The null object: nothing near, nothing found."""
    model = Model()
    assert Uncached().near(key_of(1)) is None
    for run in (1, 2):
        assert await Uncached().find(key_of(1), "acme", "linear", model) == Found(
            b"answer", "miss", made={"run": run}
        )


async def test_two_tenants_never_meet(answers: CachedAnswers) -> None:
    """Promise 10 over the wire: the same 500 inputs of two tenants, and none is answered with the other's."""
    await heard(answers)
    for number in range(1, 501):
        for tenant in ("acme", "globex"):
            own = Model(f"{tenant} {number}".encode())
            found = await answers.find(key_of(number, tenant), tenant, "linear", own)
            assert (found.value, found.level) == (own.value, "miss")


async def test_a_stolen_key_opens_nothing(
    cache: Cache, answers: CachedAnswers, memory_only: Settings
) -> None:
    """A tenant who comes by another's key asks the service in its own name, where nothing stands under it."""
    await heard(answers)
    await find(answers, 1, Model(b"secret"))
    await written(cache, 2)
    async with client_of(memory_only) as other:
        assert (await other.find(key_of(1), "globex", "linear", Model(b"own"))).value == b"own"
        assert (await other.find(key_of(2), "acme", "linear", Model())).level == "miss"


async def test_a_client_can_always_be_closed(memory_only: Settings) -> None:
    """Also in the very moment in which a heartbeat arrives: asyncio.wait_for lost that cancellation, and hung."""
    async with build(replace(memory_only, heartbeat_s=0.002)):
        for _ in range(60):
            async with asyncio.timeout(20), client_of(memory_only):
                await asyncio.sleep(random.random() * 0.02)
