"""The levels together: write-back for what is left of a life, writes to all, forgetting everywhere."""

import pytest

from headrace.cache.core.entry import Opened
from headrace.cache.core.shelf import Scope, Shelf
from headrace.cache.levels import Hit, Levels, Nothing, Wanted
from headrace.cache.store import StoreFailed
from tests.fakes.cache import FakeBehind, SetClock

KEY = bytes(32)


class Rig:
    """Levels over a fake level behind memory, and their clock."""

    def __init__(self) -> None:
        self.clock, self.behind, self.shelf = SetClock(), FakeBehind(), Shelf(10, 100_000)
        self.levels = Levels(self.shelf, self.behind, self.clock, ttl_s=100.0, max_value_bytes=1000)

    async def get(self, tenant: str = "acme", model: str = "linear") -> Hit | None:
        (hit,) = await self.levels.get([Wanted(KEY, tenant, model)])
        return hit


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_memory_answers_first(rig: Rig) -> None:
    """With what is left of the entry's life; an empty answer is a hit."""
    rig.levels.put(KEY, "acme", "linear", b"", 60.0)
    rig.clock.now += 10
    assert await rig.get() == Hit(b"", "memory", 50.0)
    assert rig.behind.within_s is None


async def test_each_of_several_is_answered_for_itself(rig: Rig) -> None:
    """In the order asked for: from memory what is there, from behind what isn't, and only that is asked there."""
    rig.levels.put(KEY, "acme", "linear", b"near", 60.0)
    rig.behind.opened = Opened(b"far", 5_000)
    other = Wanted(bytes(31) + b"x", "acme", "linear")
    hits = await rig.levels.get([other, Wanted(KEY, "acme", "linear"), other])
    assert hits == [Hit(b"far", "redis", 5.0), Hit(b"near", "memory", 60.0), Hit(b"far", "redis", 5.0)]
    assert rig.behind.wanted == [other, other]


async def test_an_answer_from_behind_is_kept_for_the_rest_of_its_life(rig: Rig) -> None:
    """Writing it back prolongs nothing: it ends when it would have ended behind."""
    rig.behind.opened = Opened(b"answer", 5_000)
    assert await rig.get() == Hit(b"answer", "redis", 5.0)
    rig.behind.opened = None
    rig.clock.now += 4
    assert await rig.get() == Hit(b"answer", "memory", 1.0)
    rig.clock.now += 1
    assert await rig.get() is None


@pytest.mark.parametrize(("asked", "life"), [(None, 100.0), (60.0, 60.0), (1e9, 100.0)])
async def test_no_answer_outlives_the_longest_life(rig: Rig, asked: float | None, life: float) -> None:
    """On every level; a shorter life is kept."""
    rig.levels.put(KEY, "acme", "linear", b"x", asked)
    assert await rig.get() == Hit(b"x", "memory", life)
    assert [write.ends for write in rig.behind.writes] == [rig.clock.now + life]


async def test_a_clock_that_jumps_moves_no_entry_in_memory(rig: Rig) -> None:
    """Lives in memory are on the monotonic clock."""
    rig.levels.put(KEY, "acme", "linear", b"x", 60.0)
    rig.clock.wall_ahead_s = -7200
    assert await rig.get() == Hit(b"x", "memory", 60.0)


async def test_a_large_answer_is_kept_nowhere(rig: Rig) -> None:
    """One byte above the bound; at the bound it is kept."""
    rig.levels.put(KEY, "acme", "linear", bytes(1001), None)
    assert await rig.get() is None
    assert not rig.behind.writes
    rig.levels.put(KEY, "acme", "linear", bytes(1000), None)
    assert await rig.get() is not None


async def test_a_tenant_who_has_anothers_key_gets_nothing(rig: Rig) -> None:
    """An entry answers to the tenant and the model with which it was put."""
    rig.levels.put(KEY, "acme", "linear", b"secret", None)
    assert await rig.get(tenant="globex") is None
    assert await rig.get(model="minilm") is None


async def test_the_level_behind_leaves_time_for_the_way_back(rig: Rig) -> None:
    """A miss that comes after the caller left would cost its breaker a failure."""
    await rig.levels.get([Wanted(KEY, "acme", "linear")], 0.005)
    assert rig.behind.within_s == pytest.approx(0.0035)


async def test_forgetting_reaches_every_level(rig: Rig) -> None:
    """Both count; memory forgets also when the level behind can't be reached."""
    rig.levels.put(KEY, "acme", "linear", b"x", None)
    assert await rig.levels.forget(Scope(tenant="acme")) == 2
    rig.levels.put(KEY, "acme", "linear", b"x", None)
    rig.behind.problem = "away"
    with pytest.raises(StoreFailed):
        await rig.levels.forget(Scope(tenant="acme"))
    assert await rig.get() is None


async def test_what_is_forgotten_while_it_is_looked_up_is_not_answered(rig: Rig) -> None:
    """Nor written back to memory."""
    rig.behind.opened = Opened(b"old", 5_000)
    rig.behind.while_asked = lambda: rig.levels.forget(Scope(tenant="acme"))
    assert await rig.get() is None
    assert len(rig.shelf) == 0


async def test_without_a_level_behind_memory_serves(rig: Rig) -> None:
    """And the statistics name memory alone."""
    levels = Levels(rig.shelf, Nothing(), rig.clock, ttl_s=100.0, max_value_bytes=1000)
    levels.put(KEY, "acme", "linear", b"x", None)
    wanted = [Wanted(KEY, "acme", "linear"), Wanted(bytes(31) + b"x", "acme", "linear")]
    assert await levels.get(wanted) == [Hit(b"x", "memory", 100.0), None]
    assert await levels.forget(Scope(tenant="acme")) == 1
    (memory,) = await levels.counted()
    assert (memory.level, memory.entries, memory.tally.hits, memory.tally.misses) == ("memory", 0, 1, 1)
