"""The second level over a store that fails, stalls, lies and comes back."""

import asyncio

import pytest

from headrace.cache.core.breaker import Breaker, State
from headrace.cache.core.entry import Names, Opened, Seal
from headrace.cache.core.shelf import Scope
from headrace.cache.levels import Wanted, Write
from headrace.cache.redis_level import WAITING_WRITES, RedisLevel
from headrace.cache.store import SLOW, StoreFailed
from tests.fakes.cache import SECRET, FakeStore, SetClock

KEY, OTHER = bytes(32), bytes(31) + b"\x01"
SEAL, NAMES = Seal(SECRET, 100_000), Names(SECRET)


class Rig:
    """A level that was probed once, its store and its clock."""

    def __init__(self, budget_s: float = 5.0) -> None:
        self.clock, self.store = SetClock(), FakeStore()
        self.breaker = Breaker(state=State.OPEN)
        self.level = RedisLevel(self.store, SEAL, NAMES, self.clock, budget_s=budget_s, breaker=self.breaker)

    def plant(self, stored: bytes, key: bytes = KEY) -> None:
        self.store.entries[NAMES.name("acme", "linear", key)] = stored

    def seal(self, value: bytes = b"answer", key: bytes = KEY) -> bytes:
        return SEAL.sealed(key, value, self.clock.time_ns() // 1_000_000, 50_000)

    def write(self, value: bytes = b"answer", tenant: str = "acme") -> Write:
        return Write(KEY, tenant, "linear", value, self.clock.now + 50)

    async def get(self) -> Opened | None:
        (opened,) = await self.level.get([Wanted(KEY, "acme", "linear")])
        return opened

    async def written(self) -> None:
        """Lets the writer do what it can do now."""
        writer = asyncio.create_task(self.level.write())
        for _ in range(20):
            await asyncio.sleep(0)
        writer.cancel()


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.level.probe()
    return rig


async def test_a_store_is_not_asked_before_it_has_answered_once() -> None:
    """A request is never the first to find a store that is away."""
    rig = Rig()
    rig.plant(rig.seal())
    assert await rig.get() is None
    assert rig.store.calls == 0
    await rig.level.probe()
    assert await rig.get() == Opened(b"answer", 50_000)


async def test_an_entry_goes_out_sealed_and_comes_back(rig: Rig) -> None:
    """With its own life in the store, under a name that tells nothing; an empty answer is a hit."""
    rig.level.put(rig.write(b""))
    await rig.written()
    (name,) = rig.store.entries
    assert (name, rig.store.lives[name]) == (NAMES.name("acme", "linear", KEY), 50_000)
    assert await rig.get() == Opened(b"", 50_000)
    assert rig.level.tally.hits == 1


@pytest.mark.parametrize("stored", [b"", b"garbage" * 30, SEAL.sealed(OTHER, b"x", 1_000_000, 50_000)])
async def test_what_can_not_be_believed_is_a_miss(rig: Rig, stored: bytes) -> None:
    """Counted, and no failure of the store: it did answer."""
    rig.plant(stored)
    assert await rig.get() is None
    assert (rig.level.tally.rejected, rig.level.tally.misses, rig.level.tally.errors) == (1, 1, 0)
    assert rig.breaker.state is State.CLOSED


async def test_a_store_that_fails_is_not_asked_any_more(rig: Rig) -> None:
    """After five failures; the problem stands in words until it is over."""
    rig.store.problem = "the store refuses: OOM"
    for _ in range(8):
        assert await rig.get() is None
    assert rig.store.calls == 2 + 5
    assert rig.level.state().problem == "the store refuses: OOM"
    rig.store.problem = ""
    await rig.level.probe()
    assert rig.breaker.state is State.OPEN  # not before its time
    rig.clock.now += 1
    await rig.level.probe()
    assert (rig.breaker.state, rig.level.state().problem) == (State.CLOSED, "")


async def test_a_store_that_stalls_costs_the_budget() -> None:
    """And counts as a failure each time."""
    rig = Rig(budget_s=0.001)
    rig.breaker.state = State.CLOSED
    rig.store.going.clear()
    for _ in range(5):
        assert await rig.get() is None
    assert rig.breaker.state is State.OPEN
    assert rig.level.state().problem == SLOW


async def test_a_caller_that_gives_up_first_hides_no_slow_store(rig: Rig) -> None:
    """Cancelled after half of the budget is a failure, at once is none."""
    rig.store.going.clear()
    for waited, errors in ((0.0, 0), (3.0, 1)):
        asking = asyncio.create_task(rig.get())
        await asyncio.sleep(0)
        rig.clock.now += waited
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert rig.level.tally.errors == errors


async def test_writes_are_bounded(rig: Rig) -> None:
    """Beyond the bound, and while the store is not asked, they are dropped and counted."""
    for _ in range(WAITING_WRITES + 3):
        rig.level.put(rig.write())
    assert rig.level.tally.dropped_writes == 3
    rig.breaker.state = State.OPEN
    rig.level.put(rig.write())
    assert rig.level.tally.dropped_writes == 4


async def test_an_entry_that_ended_while_it_waited_is_not_written(rig: Rig) -> None:
    """A life of nothing would be an error of the store's."""
    rig.level.put(rig.write())
    rig.clock.now += 50
    await rig.written()
    assert not rig.store.entries


async def test_forgetting_reaches_what_is_stored_and_what_is_on_its_way(rig: Rig) -> None:
    """Of the named tenant alone."""
    rig.level.put(rig.write())
    rig.level.put(rig.write(tenant="globex"))
    await rig.written()
    rig.level.put(rig.write())
    assert await rig.level.forget(Scope(tenant="acme")) == 1
    await rig.written()
    assert list(rig.store.entries) == [NAMES.name("globex", "linear", KEY)]


async def test_what_could_not_be_removed_is_not_served(rig: Rig) -> None:
    """The store is away when a tenant is deleted: its entries are held back, and gone before the store is used again."""
    rig.plant(rig.seal())
    rig.store.problem = "the store is out of reach"
    with pytest.raises(StoreFailed, match="out of reach"):
        await rig.level.forget(Scope(tenant="acme"))
    rig.store.problem = ""
    assert rig.breaker.state is State.CLOSED
    assert await rig.get() is None
    await rig.level.probe()
    assert not rig.store.entries
    rig.plant(rig.seal())
    assert await rig.get() == Opened(b"answer", 50_000)


async def test_an_open_breaker_says_that_forgetting_is_not_done(rig: Rig) -> None:
    """At once, with the problem; the probe that closes it forgets first."""
    rig.plant(rig.seal())
    rig.breaker.state = State.OPEN
    with pytest.raises(StoreFailed):
        await rig.level.forget(Scope(model="linear"))
    rig.clock.now += 1
    await rig.level.probe()
    assert rig.breaker.state is State.CLOSED
    assert not rig.store.entries


async def test_the_store_tells_how_much_it_holds(rig: Rig) -> None:
    """-1 when it doesn't answer."""
    rig.plant(b"x")
    assert await rig.level.count() == 1
    rig.store.problem = "away"
    assert await rig.level.count() == -1
    rig.breaker.state = State.OPEN
    assert await rig.level.count() == -1
