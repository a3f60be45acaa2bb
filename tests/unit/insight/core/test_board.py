"""The figures of a mesh whose processes come, go and hang."""

from itertools import pairwise
from math import inf

import pytest

from headrace.insight.core import wanted as w
from headrace.insight.core.exposition import Series
from headrace.insight.figures import Health
from tests.fakes.metrics import Process, Rounds


def test_rates_and_quantiles_are_of_all_replicas() -> None:
    """Two replicas, 30 requests in 2 s of one and 10 of the other, two of them failed."""
    one, two = Process("inference-0"), Process("inference-1")
    rounds = Rounds(one, two)
    rounds.round((one.name, one.reading()), (two.name, two.reading()))
    one.answer([0.005] * 30)
    two.answer([0.05] * 8)
    two.fail(2)
    rounds.round((one.name, one.reading()), (two.name, two.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert (model.model, model.requests_per_s, model.failed_per_s) == ("linear", 20.0, 1.0)
    assert model.latency.p50 is not None
    assert 0.001 < model.latency.p50.seconds <= 0.01
    assert model.latency.p95 is not None
    assert 0.01 < model.latency.p95.seconds <= 0.1
    assert model.latency.p99 is None  # of 38 answers


def test_a_restart_is_no_negative_rate() -> None:
    """And what the new process did counts."""
    process = Process()
    rounds = Rounds(process)
    process.answer([0.005] * 1000)
    rounds.round((process.name, process.reading()))
    process.restart()
    process.answer([0.005] * 10)
    rounds.round((process.name, process.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert model.requests_per_s == 5.0


def test_a_dead_process_is_down_and_its_figures_are_gone() -> None:
    """Not zero: nobody knows what it does."""
    process = Process()
    rounds = Rounds(process)
    for _ in range(3):
        process.answer([0.005] * 10)
        rounds.round((process.name, process.reading()))
    assert rounds.board.overview(rounds.now).models != ()
    rounds.board.presence.missed(process.name, refused=True)
    overview = rounds.board.overview(rounds.now)
    assert [p.health for p in overview.processes] == [Health.DOWN]
    assert (overview.models, overview.codes, overview.limits) == ((), (), None)


def test_a_silent_process_is_stale_and_then_down() -> None:
    """It is told how old its figures are."""
    process = Process()
    rounds = Rounds(process)
    rounds.round((process.name, process.reading()))
    seen = []
    for _ in range(6):
        rounds.round(silent=(process.name,))
        (told,) = rounds.board.overview(rounds.now).processes
        seen.append((told.health, told.age_s))
        (later,) = rounds.board.overview(rounds.now + 1.5).processes
        assert later.age_s is not None
        assert (later.health is Health.DOWN) == (later.age_s >= 10)  # not only when it is asked again
    assert seen == [
        *((Health.STALE, float(age)) for age in (2, 4, 6, 8)),
        (Health.DOWN, 10.0),
        (Health.DOWN, 12.0),
    ]


def test_what_was_missed_is_no_rate_of_now() -> None:
    """A replica hangs for eight seconds and answers again: what it did meanwhile is not of the last two."""
    process = Process()
    rounds = Rounds(process)
    rounds.round((process.name, process.reading()))
    for _ in range(4):
        rounds.round(silent=(process.name,))
    process.answer([0.005] * 1000)
    rounds.round((process.name, process.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert model.requests_per_s is None
    process.answer([0.005] * 4)
    rounds.round((process.name, process.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert model.requests_per_s == 2.0


def test_one_reading_is_no_rate() -> None:
    """Nor zero."""
    process = Process()
    process.answer([0.005] * 1000)
    rounds = Rounds(process)
    rounds.round((process.name, process.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert (model.requests_per_s, model.latency.p50, model.batch_rows) == (None, None, None)


def test_history_meets_and_is_bounded() -> None:
    """Ten minutes of ten seconds each, whose requests add up to all of them."""
    process = Process()
    rounds = Rounds(process)
    for _ in range(400):
        process.answer([0.005] * 2)
        rounds.round((process.name, process.reading()))
    points = rounds.board.overview(rounds.now, history=True).history
    assert len(points) == 60
    assert {point.requests_per_s for point in points} == {1.0}
    ends = [point.time_ns for point in points]
    assert {later - earlier for earlier, later in pairwise(ends)} == {10 * 10**9}
    assert rounds.board.overview(rounds.now).history == ()


def test_money_stays_whole() -> None:
    """To the digit: 2^53 - 1 nano-units in 6 s are ten times as many a minute, which no float can hold."""
    rounds = Rounds()
    rounds.services = {"metering": w.METERING}
    usd, large = Series(w.PAID, ("USD",)), 2**53 - 1
    for paid in (0, 3, 5, large):
        rounds.round(("metering", {usd: float(paid)}))
    assert rounds.board.overview(rounds.now).cost == (("USD", 10 * large),)


def test_levels_of_the_cache() -> None:
    """A level's hit rate is of the look-ups that reached it; one that does not exist is not there."""
    rounds = Rounds()
    rounds.services = {"inference-0": w.INFERENCE, "cache": w.CACHE}

    def told(near: int, memory: int, miss: int) -> None:
        answers = {"near": near, "memory": memory, "miss": miss}
        rounds.round(
            ("inference-0", {Series(w.NEAR_ANSWERS, (level,)): n for level, n in answers.items()}),
            (
                "cache",
                {Series(w.LOOKUPS, ("memory", "hit")): memory, Series(w.LOOKUPS, ("memory", "miss")): miss},
            ),
        )

    told(0, 0, 0)
    told(60, 30, 10)
    near, memory = rounds.board.overview(rounds.now).cache_levels
    assert (near.level, near.lookups_per_s, near.hit_rate) == ("near", 50.0, 0.6)
    assert (memory.level, memory.lookups_per_s, memory.hit_rate) == ("memory", 20.0, 0.75)


@pytest.mark.parametrize("up", [True, False])
def test_no_breaker_and_no_guard_differ(up: bool) -> None:
    """That all are closed is only known of a guard that answers."""
    rounds = Rounds()
    rounds.services = {"guard": w.GUARD}
    state = {Series(w.BREAKER_STATE, ("minilm", "open")): 1.0}
    rounds.round(("guard", state))
    assert rounds.board.overview(rounds.now).breakers == (("minilm", "open"),)
    if up:
        rounds.round(("guard", {}))
        assert rounds.board.overview(rounds.now).breakers == ()
    else:
        rounds.board.presence.missed("guard", refused=True)
        assert rounds.board.overview(rounds.now).breakers is None


def test_the_edge_tells_milliseconds() -> None:
    """Envoy's histograms are in milliseconds; ours are in seconds."""
    rounds = Rounds()
    rounds.services = {"gateway": w.GATEWAY}
    for count in (0, 40):
        buckets = {Series(w.EDGE_MS, (le,)): float(count) for le in ("5", "10", "+Inf")}
        classes = {Series(w.EDGE_REQUESTS, ("2",)): float(count), Series(w.EDGE_REQUESTS, ("4",)): 0.0}
        rounds.round(("gateway", {**buckets, **classes, Series(w.EDGE_ACTIVE): 3.0}))
    gateway = rounds.board.overview(rounds.now).gateway
    assert gateway is not None
    assert (gateway.requests_per_s, gateway.refused_per_s, gateway.active_requests) == (20.0, 0.0, 3)
    assert gateway.latency.p95 is not None
    assert 0 < gateway.latency.p95.seconds <= 0.005 < inf


def test_rates_are_of_now_and_quantiles_of_the_last_minute() -> None:
    """A burst 14 seconds ago is no rate any more; its latency is told until a minute has passed."""
    process = Process()
    rounds = Rounds(process)
    rounds.round((process.name, process.reading()))
    process.answer([0.005] * 100)
    for _ in range(8):
        rounds.round((process.name, process.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert model.requests_per_s == 0.0
    assert model.latency.p95 is not None
    for _ in range(30):
        rounds.round((process.name, process.reading()))
    (model,) = rounds.board.overview(rounds.now).models
    assert model.latency.p95 is None
