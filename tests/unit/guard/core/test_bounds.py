"""Over all replicas together: never more than the limit, whatever the order of frames."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.guard.core.limits import Limits, Mode, mode_of
from headrace.guard.core.pace import AHEAD_TICKS
from tests.unit.guard.core.simulation import TENANT, Simulation

LEASED = Limits(rate=100.0, burst=60, concurrency=60)
SYNC = Limits(rate=5.0, burst=8, concurrency=6)
EVENTS = ["request", "request", "end", "tick", "settle", "send", "up", "down", "round"]

# Each step: what happens, to which holder, how often, and how long before it.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(EVENTS),
        st.integers(0, 1),
        st.integers(1, 25),
        st.sampled_from([0.0, 0.001, 0.05, 0.3]),
    ),
    max_size=60,
)


def play(simulation: Simulation, steps: list[tuple[str, int, int, float]]) -> None:
    """Does the steps."""
    for what, number, times, pause in steps:
        simulation.pass_by(pause)
        holder = simulation.holders[number]
        match what:
            case "request":
                for _ in range(times):
                    simulation.request(holder)
            case "end":
                for _ in range(times):
                    holder.end()
            case "tick":
                simulation.tick(holder)
            case "settle":
                simulation.settle(2)
            case "send":
                simulation.send(holder)
            case "up":
                simulation.arrive_up(holder)
            case "down":
                simulation.arrive_down(holder)
            case _:
                simulation.round(standing=True)
        assert simulation.in_flight <= simulation.limits.concurrency


def test_which_limits_are_leased() -> None:
    """The two that are tried below are of one mode each; below 20 for each holder a limit is SYNC."""
    assert mode_of(LEASED, 2, 1.0) is Mode.LEASED
    assert mode_of(SYNC, 2, 1.0) is Mode.SYNC
    assert mode_of(Limits(rate=39.0), 2, 1.0) is Mode.SYNC
    assert mode_of(Limits(rate=40.0), 2, 1.0) is Mode.LEASED
    assert mode_of(Limits(burst=39), 2, 1.0) is Mode.SYNC
    assert mode_of(Limits(concurrency=39), 2, 1.0) is Mode.SYNC


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_leased_limits_are_exact(steps: list[tuple[str, int, int, float]]) -> None:
    """In any window all holders together admit at most burst + rate x length; in flight never above the limit."""
    simulation = Simulation(LEASED, 2)
    play(simulation, steps)
    assert simulation.excess() < 1e-6


def test_tokens_in_a_holders_hands_are_not_refilled() -> None:
    """Leased ahead, kept during a pause in which the bucket fills again, then spent together with it: one burst."""
    simulation = Simulation(LEASED, 2)
    one, two = simulation.holders
    for _ in range(4):
        simulation.request(one)
    simulation.settle()
    for _ in range(4):
        one.end()
    simulation.tick(one)
    simulation.settle()
    assert one.book.holdings[TENANT].tokens >= 4 * AHEAD_TICKS
    simulation.pass_by(10.0)
    simulation.admitted.clear()
    for holder in (one, two):
        for _ in range(60):
            simulation.request(holder)
            simulation.settle(2)
            holder.end()
    assert len(simulation.admitted) == LEASED.burst


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_small_limits_are_exact(steps: list[tuple[str, int, int, float]]) -> None:
    """The same in SYNC."""
    simulation = Simulation(SYNC, 2)
    play(simulation, steps)
    assert simulation.excess() < 1e-6


@given(STEPS, STEPS)
@settings(max_examples=100, deadline=None)
def test_a_new_guard_costs_one_burst_at_most(
    before: list[tuple[str, int, int, float]], after: list[tuple[str, int, int, float]]
) -> None:
    """Killed and started again, holders alone in between: the excess of any window is at most one more burst."""
    simulation = Simulation(LEASED, 2)
    play(simulation, before)
    simulation.restart()
    for holder in simulation.holders:
        for _ in range(40):
            simulation.request(holder)
            holder.end()
        simulation.connect(holder)
    for holder in simulation.holders:
        while holder.in_flight:
            holder.end()
    play(simulation, after)
    assert simulation.excess() <= LEASED.burst + LEASED.rate * 1.0


def test_exactly_twenty_at_any_split() -> None:
    """100 requests for 20 tokens, however they come to two replicas."""
    for at_one in range(0, 101, 10):
        simulation = Simulation(Limits(rate=0.001, burst=20, concurrency=1000), 2)
        one, two = simulation.holders
        for number in range(100):
            simulation.request(one if number < at_one else two)
        simulation.settle()
        assert len(simulation.admitted) == 20
        assert one.refused + two.refused == 80


def test_no_holder_is_starved() -> None:
    """Two that ask for far more than there is get half each, over many rounds."""
    simulation = Simulation(Limits(rate=200.0, burst=50, concurrency=1000), 2)
    got = {holder.name: 0 for holder in simulation.holders}
    for step in range(600):
        simulation.pass_by(0.01)
        for holder in simulation.holders:
            before = len(simulation.admitted)
            for _ in range(5 if holder is simulation.holders[0] else 20):
                simulation.request(holder)
            if step % 5 == 0:
                simulation.tick(holder)
            got[holder.name] += len(simulation.admitted) - before
        before_each = {holder.name: holder.in_flight for holder in simulation.holders}
        simulation.round(standing=True)
        simulation.settle(2)
        for holder in simulation.holders:
            got[holder.name] += holder.in_flight - before_each[holder.name]
            while holder.in_flight:
                holder.end()
    total = sum(got.values())
    assert total >= 0.9 * (50 + 200 * 6)
    assert min(got.values()) >= 0.4 * total


def test_a_pace_within_the_limit_is_never_refused() -> None:
    """80 % of the rate, at two replicas in turn, with frames that take their time."""
    simulation = Simulation(Limits(rate=1000.0, burst=1000, concurrency=100), 2)
    for step in range(4000):
        simulation.pass_by(0.00125)
        holder = simulation.holders[step % 2]
        simulation.request(holder)
        if step % 4 == 0:
            simulation.settle(2)
        if step % 40 == 0:
            for each in simulation.holders:
                simulation.tick(each)
        holder.end()
    simulation.settle()
    assert len(simulation.admitted) == 4000
    assert sum(holder.refused for holder in simulation.holders) == 0


def test_a_tenant_that_is_idle_is_forgotten() -> None:
    """At the holder after a while, and then at the guard: state is for active tenants only."""
    simulation = Simulation(LEASED, 1)
    (holder,) = simulation.holders
    for _ in range(30):
        simulation.request(holder)
        simulation.settle(2)
        holder.end()
    assert TENANT in simulation.guard.tenants
    for _ in range(60):
        simulation.pass_by(0.05)
        simulation.tick(holder)
        simulation.settle(2)
    simulation.guard.expire(simulation.now)
    assert not holder.book.holdings
    assert not simulation.guard.tenants
    assert not simulation.guard.holders["r0"].tenants


@pytest.mark.parametrize("alone", [False, True])
def test_a_pause_is_no_new_burst(*, alone: bool) -> None:
    """A slow tenant is not forgotten before its rate has made up for what it used: neither with a guard nor without."""
    simulation = Simulation(Limits(rate=0.01, burst=20, concurrency=100), 1)
    (holder,) = simulation.holders
    if alone:
        holder.book.lose(simulation.now)
    for _ in range(2):
        for _ in range(30):
            simulation.request(holder)
            simulation.settle(2)
            holder.end()
        for _ in range(200):
            simulation.pass_by(0.05)
            simulation.tick(holder)
            simulation.settle(1)
    simulation.restart()
    simulation.connect(holder)
    for _ in range(30):
        simulation.request(holder)
        simulation.settle(2)
        holder.end()
    assert len(simulation.admitted) == 20
    assert holder.book.holdings[TENANT].slots == 0
