"""The second level over a real Valkey that is killed, stopped, refuses the password and is written to by others.

Promises 8 and 11: no error, no wrong answer, no more than the budget.
"""

import asyncio
import pickle  # made here, to show that nobody reads it
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from structlog.testing import capture_logs

from headrace.cache.app import build
from headrace.cache.core.shelf import Scope
from headrace.cache.levels import Hit, Levels, Wanted
from headrace.cache.settings import Settings
from tests.contract.cache.conftest import until
from tests.support.valkey import PASSWORD, Valkey

BUDGET_S = 0.005


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "little")


@pytest.fixture
def settings(memory_only: Settings, valkey: Valkey) -> Settings:
    """Memory that holds one entry, so that the store is asked for the others."""
    return replace(memory_only, redis=valkey.url, redis_password_file=valkey.password_file, max_entries=1)


class Rig:
    """The levels of a serving cache, and a client of the store behind them that may do what the cache may."""

    def __init__(self, levels: Levels, store: redis.asyncio.Redis) -> None:
        self.levels, self.store = levels, store

    async def put(self, *numbers: int) -> None:
        """Puts an answer for each number, and waits until the store has them."""
        for number in numbers:
            self.levels.put(key_of(number), "acme", "linear", b"answer %d" % number, None)
        held = set(numbers)
        for _ in range(500):
            names = [name.decode()[-64:] for name in await self.names()]
            if held <= {int.from_bytes(bytes.fromhex(name), "little") for name in names}:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the store was not written")

    async def names(self) -> list[bytes]:
        return [name async for name in self.store.scan_iter("headrace:*")]

    async def get(self, number: int) -> Hit | None:
        (hit,) = await self.levels.get([Wanted(key_of(number), "acme", "linear")])
        return hit

    def usable(self) -> bool:
        return self.levels.states()[1].problem == ""


@asynccontextmanager
async def rig_of(settings: Settings, valkey: Valkey) -> AsyncIterator[Rig]:
    again = Retry(ConstantBackoff(0.01), 3)
    store = redis.asyncio.Redis.from_url(valkey.url, password=PASSWORD, retry=again)
    async with build(settings) as running:
        yield Rig(running.levels, store)
    await store.aclose()


@pytest.fixture
async def rig(settings: Settings, valkey: Valkey) -> AsyncIterator[Rig]:
    # Generous, so that a busy machine is not taken for a slow store.
    async with rig_of(replace(settings, redis_budget_ms=250.0), valkey) as running:
        yield running


async def test_an_answer_outlives_memory_and_process(rig: Rig, settings: Settings, valkey: Valkey) -> None:
    """Found in the store once memory let it go, then in memory; and in the store by the next process."""
    await rig.put(1, 2)
    first, second = await rig.get(1), await rig.get(1)
    assert first is not None
    assert second is not None
    assert [(hit.value, hit.level) for hit in (first, second)] == [
        (b"answer 1", "redis"),
        (b"answer 1", "memory"),
    ]
    assert 3590 < second.life_s <= first.life_s <= 3600
    async with rig_of(replace(settings, redis_budget_ms=250.0, socket=None), valkey) as next_one:
        found = await next_one.get(2)
        assert found is not None
        assert (found.value, found.level) == (b"answer 2", "redis")


async def test_the_store_ends_entries_by_itself_too(rig: Rig) -> None:
    """Its own time to live is the entry's: nothing is left behind by a cache that is gone."""
    await rig.put(1)
    (name,) = await rig.names()
    rest = await rig.store.set(name, b"", xx=True, get=True, keepttl=True)
    assert rest
    rig.levels.put(key_of(2), "acme", "linear", b"short", 0.2)
    await asyncio.sleep(0.3)
    assert await rig.names() == [name]


async def test_a_killed_store_costs_no_error_and_comes_back(rig: Rig, valkey: Valkey) -> None:
    """kill -9: misses at once, memory serves; the store is used again when it is back."""
    await rig.put(1, 2)
    valkey.kill()
    for _ in range(200):
        assert await rig.get(100) is None
    assert not rig.usable()
    rig.levels.put(key_of(5), "acme", "linear", b"in memory", None)
    found = await rig.get(5)
    assert found is not None
    assert found.level == "memory"
    valkey.start()
    await until(rig.usable, "the store is used again")
    await rig.put(7, 8)
    found = await rig.get(7)
    assert found is not None
    assert found.level == "redis"


async def test_a_stopped_store_costs_the_budget_five_times(settings: Settings, valkey: Valkey) -> None:
    """SIGSTOP: it accepts and never answers. Five look-ups wait their budget, those after it not at all."""
    async with rig_of(settings, valkey) as rig:
        valkey.stop()
        stopped = time.perf_counter()
        for _ in range(20):
            assert await rig.get(100) is None
        assert time.perf_counter() - stopped < 1  # 25 ms of budget, and what a busy machine adds
        assert not rig.usable()
        took = []
        for _ in range(200):
            began = time.perf_counter()
            assert await rig.get(100) is None
            took.append(time.perf_counter() - began)
        assert sorted(took)[-2] <= BUDGET_S
        valkey.go_on()
        await until(rig.usable, "the store is used again")


async def test_a_look_up_that_waits_holds_up_nobody(rig: Rig, valkey: Valkey) -> None:
    """The event loop turns while a stopped store is waited for: a blocking client would stand still with it."""
    await rig.put(1, 2)
    valkey.stop()
    asking = asyncio.create_task(rig.get(1))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10
    assert await asking is None


async def test_a_thousand_abandoned_look_ups_leave_no_answer_behind(rig: Rig) -> None:
    """Cancelled anywhere in between, none leaves its answer for the next one on its connection, nor a connection lost."""
    await rig.put(*range(20))
    for round_ in range(50):
        asking = [asyncio.create_task(rig.get(number)) for number in range(20)]
        for _ in range(round_ % 7):
            await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    await until(rig.usable, "the store is used")
    for number in range(20):
        found = await rig.get(number)
        assert found is not None
        assert found.value == b"answer %d" % number
    assert rig.levels.states()[1].tally.rejected == 0


async def test_a_refused_password_is_told_at_the_start(settings: Settings, valkey: Valkey) -> None:
    """In words in the log and the statistics, without the password; memory serves, and the right one heals it."""
    valkey.password_file.write_text("hunter2")
    with capture_logs() as logs:
        async with rig_of(settings, valkey) as rig:
            (said,) = [line for line in logs if line["log_level"] == "warning"]
            assert said["why"] == "the store refuses the user or the password"
            assert "hunter2" not in str(logs)
            assert rig.levels.states()[1].problem == said["why"]
            rig.levels.put(key_of(1), "acme", "linear", b"answer", None)
            found = await rig.get(1)
            assert found is not None
            assert found.level == "memory"


async def test_every_flipped_byte_is_a_miss(rig: Rig) -> None:
    """Promise 11: whatever byte of a stored entry is changed, it is not served, and nothing grows."""
    await rig.put(1, 2)
    (name,) = [name for name in await rig.names() if name.endswith(key_of(1).hex().encode())]
    (stored,) = await rig.store.mget([name])
    assert isinstance(stored, bytes)
    before = psutil.Process().memory_info().rss
    for place in range(len(stored)):
        damaged = bytearray(stored)
        damaged[place] ^= 0x40
        await rig.store.set(name, bytes(damaged))
        assert await rig.get(1) is None
    assert rig.levels.states()[1].tally.rejected == len(stored)
    assert psutil.Process().memory_info().rss - before < 16 << 20
    assert rig.usable()


async def test_swapped_entries_are_misses(rig: Rig) -> None:
    """Each is whole, and belongs to another key."""
    await rig.put(1, 2, 3)
    stem = (await rig.names())[0].decode()[:-64]
    one, other = stem + key_of(1).hex(), stem + key_of(2).hex()
    first, second = await rig.store.mget([one, other])
    assert first
    assert second
    await rig.store.set(one, second)
    await rig.store.set(other, first)
    assert [await rig.get(1), await rig.get(2)] == [None, None]
    assert rig.levels.states()[1].tally.rejected == 2


async def test_a_pickle_in_the_store_is_inert(rig: Rig, tmp_path: Path) -> None:
    """Nobody reads it: a miss, and what it would have done is not done."""

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "executed",)

    await rig.put(1, 2)
    (name,) = [name for name in await rig.names() if name.endswith(key_of(1).hex().encode())]
    await rig.store.set(name, pickle.dumps(Hostile()))
    assert await rig.get(1) is None
    assert not (tmp_path / "executed").exists()


async def test_invalidation_empties_the_store(rig: Rig) -> None:
    """By tenant; the others' entries stay."""
    await rig.put(*range(10))
    rig.levels.put(key_of(50), "globex", "linear", b"x", None)
    await asyncio.sleep(0.2)
    assert await rig.levels.forget(Scope(tenant="acme")) == 10
    assert len(await rig.names()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("EVAL", "return 1", "0"),
        ("SCRIPT", "LOAD", "return 1"),
        ("FCALL", "f", "0"),
        ("CONFIG", "SET", "dir", "/"),
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("SHUTDOWN",),
        ("DEBUG", "SLEEP", "0"),
        ("MODULE", "LOAD", "/x.so"),
        ("REPLICAOF", "host", "1"),
        ("ACL", "LIST"),
        ("GET", "other"),
        ("SET", "other", "x"),
    ],
)
async def test_the_caches_user_may_do_no_more_than_it_does(rig: Rig, words: tuple[str, ...]) -> None:
    """Neither scripts nor settings nor anybody else's keys."""
    with pytest.raises(redis.exceptions.ResponseError, match=r"permission|not allowed"):
        await rig.store.execute_command(*words)


async def test_nobody_else_may_log_in(valkey: Valkey) -> None:
    """Not without a password, nor as the default user."""
    for url in (f"redis://127.0.0.1:{valkey.port}", f"redis://default:{PASSWORD}@127.0.0.1:{valkey.port}"):
        stranger = redis.asyncio.Redis.from_url(url, retry=None)
        with pytest.raises(redis.exceptions.AuthenticationError):
            await stranger.ping()
        await stranger.aclose()
