"""The store's thread and the queue before it."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from headrace.insight.core.keep import KeepRate
from headrace.insight.ingest import MAX_QUESTIONS, Ingest
from headrace.insight.metrics import InsightMetrics
from headrace.insight.settings import MIB
from headrace.insight.store import Bounds, SqliteStore
from headrace.runtime.errors import HeadraceError
from tests.fakes.insight import otlp_request, otlp_span, trace_id

NANOS = 10**9
RETENTION_S = 100.0


class SetClock:
    """Both clocks at the same second, which the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The second that was set."""
        return self.now

    def time_ns(self) -> int:
        """The same in nanoseconds."""
        return int(self.now * NANOS)


class Rig:
    """An ingest over a real store, and what its metrics say."""

    def __init__(self, path: Path, *, rate: float = 1e6, queue_bytes: int = MIB) -> None:
        self.clock = SetClock()
        self.store = SqliteStore(path, Bounds(16 * MIB, 2000, 2 * MIB))
        self._registry = CollectorRegistry()
        self.ingest = Ingest(
            self.store,
            KeepRate(rate, rate),
            InsightMetrics(self._registry),
            self.clock,
            queue_bytes=queue_bytes,
            retention_s=RETENTION_S,
        )

    def stored(self) -> float:
        """How many spans were stored."""
        return self._registry.get_sample_value("headrace_insight_spans_stored_total") or 0.0

    def dropped(self, reason: str) -> float:
        """How many spans were dropped for this reason."""
        name = "headrace_insight_spans_dropped_total"
        return self._registry.get_sample_value(name, {"reason": reason}) or 0.0

    async def settle(self) -> None:
        """Returns once everything offered before is stored or dropped."""
        # A question may overtake what waits; a second one is only asked when
        # the round that answered the first has stored its requests.
        while self._registry.get_sample_value("headrace_insight_queue_bytes"):
            await self.ingest.ask(lambda store: None)
        await self.ingest.ask(lambda store: None)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """An ingest that the test starts; closed afterwards."""
    made = Rig(tmp_path / "traces.sqlite3")
    yield made
    made.ingest.close()
    made.store.close()


async def test_what_is_offered_is_stored(rig: Rig) -> None:
    """And an answer sees everything that was stored before it was asked."""
    rig.ingest.start()
    assert rig.ingest.offer(otlp_request(otlp_span(1, 1), otlp_span(1, 2, parent=1)))
    await rig.settle()
    trace = await rig.ingest.ask(lambda store: store.trace(trace_id(1).hex()))
    assert len(trace.spans) == rig.stored() == 2


async def test_a_full_queue_drops_at_once_and_counts(tmp_path: Path) -> None:
    """While the store stands still nothing waits beyond the bound, and the offer never blocks."""
    request = otlp_request(*(otlp_span(1, n) for n in range(1, 11)))
    rig = Rig(tmp_path / "t.sqlite3", queue_bytes=3 * request.ByteSize())
    assert [rig.ingest.offer(request) for _ in range(5)] == [True, True, True, False, False]
    assert rig.dropped("queue_full") == 20
    rig.ingest.start()
    await rig.settle()
    assert rig.ingest.offer(request)
    rig.ingest.close()
    rig.store.close()


async def test_traces_above_the_rate_are_counted(tmp_path: Path) -> None:
    """What is above the rate costs neither conversion nor disk; it is counted."""
    rig = Rig(tmp_path / "t.sqlite3", rate=3)
    rig.ingest.offer(otlp_request(*(otlp_span(n, 1) for n in range(1, 11))))
    rig.ingest.start()
    await rig.settle()
    assert (rig.stored(), rig.dropped("trace_rate")) == (3, 7)
    rig.ingest.close()
    rig.store.close()


async def test_a_stored_trace_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The decision was in memory; the trace itself tells that it was kept."""
    first = Rig(tmp_path / "t.sqlite3")
    first.ingest.start()
    first.ingest.offer(otlp_request(otlp_span(1, 1)))
    first.ingest.close()
    first.store.close()
    second = Rig(tmp_path / "t.sqlite3", rate=0.5)
    second.ingest.offer(otlp_request(otlp_span(1, 2), otlp_span(2, 1)))
    second.ingest.start()
    await second.settle()
    assert (second.stored(), second.dropped("trace_rate")) == (1, 1)
    second.ingest.close()
    second.store.close()


async def test_closing_stores_what_waits(tmp_path: Path) -> None:
    """A stop loses nothing that was accepted, many transactions of it; what comes later is refused."""
    rig = Rig(tmp_path / "t.sqlite3", queue_bytes=16 * MIB)
    for number in range(1, 13):
        span = otlp_span(number, 1)
        span.name = "x" * MIB
        assert rig.ingest.offer(otlp_request(span))
    rig.ingest.start()
    rig.ingest.close()
    assert rig.stored() == 12
    assert not rig.ingest.offer(otlp_request(otlp_span(99, 1)))
    with pytest.raises(HeadraceError, match="OVERLOADED"):
        await rig.ingest.ask(lambda store: store.newest(1))
    rig.store.close()


async def test_a_store_that_fails_costs_its_spans_only(rig: Rig, tmp_path: Path) -> None:
    """A full or broken disk is counted; insight goes on and stores again once it can."""
    rig.ingest.start()
    other = sqlite3.connect(tmp_path / "traces.sqlite3")
    other.execute("ALTER TABLE spans RENAME TO gone")
    rig.ingest.offer(otlp_request(otlp_span(1, 1), otlp_span(1, 2)))
    await rig.settle()
    assert rig.dropped("store_failed") == 2
    other.execute("ALTER TABLE gone RENAME TO spans")
    other.close()
    rig.ingest.offer(otlp_request(otlp_span(2, 1)))
    await rig.settle()
    assert rig.stored() == 1


async def test_a_question_that_fails_fails_its_asker(rig: Rig) -> None:
    """The thread survives, and the next question is answered."""
    rig.ingest.start()
    with pytest.raises(ZeroDivisionError):
        await rig.ingest.ask(lambda store: 1 // 0)
    assert await rig.ingest.ask(lambda store: store.newest(1)) == []


async def test_too_many_questions_are_refused(rig: Rig) -> None:
    """Waiting questions are bounded as waiting spans are; OVERLOADED says when to come back."""
    entered, released = threading.Event(), threading.Event()

    def hold(store: SqliteStore) -> None:
        entered.set()
        released.wait()

    rig.ingest.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(rig.ingest.ask(hold))
        await asyncio.to_thread(entered.wait)
        waiting = [tasks.create_task(rig.ingest.ask(lambda store: 7)) for _ in range(MAX_QUESTIONS)]
        await asyncio.to_thread(lambda: None)
        with pytest.raises(HeadraceError) as raised:
            await rig.ingest.ask(lambda store: 7)
        waiting[0].cancel()
        released.set()
    assert raised.value.reason == "OVERLOADED"
    assert [task.result() for task in waiting[1:]] == [7] * (MAX_QUESTIONS - 1)


async def test_old_traces_leave_by_themselves(rig: Rig) -> None:
    """Once the retention is over, the next round of work removes them."""
    rig.ingest.start()
    rig.ingest.offer(otlp_request(otlp_span(1, 1)))
    await rig.settle()
    rig.clock.now += RETENTION_S + 60
    rig.ingest.offer(otlp_request(otlp_span(2, 1)))
    await rig.settle()
    await rig.settle()
    assert [trace.trace_id for trace in await rig.ingest.ask(lambda store: store.newest(5))] == [
        trace_id(2).hex()
    ]
