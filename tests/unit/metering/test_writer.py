"""The ledger's thread."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from headrace.metering.ledger import Ledger
from headrace.metering.metrics import MeteringMetrics
from headrace.metering.writer import MAX_WAITING_EVENTS, LedgerWriter
from headrace.runtime.clock import SystemClock
from headrace.runtime.errors import HeadraceError
from tests.fakes.metering import BOOKS, event, recording


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite3", BOOKS.all)


@pytest.fixture
def writer(ledger: Ledger) -> LedgerWriter:
    return LedgerWriter(ledger, MeteringMetrics(CollectorRegistry()), SystemClock())


async def test_batches_that_wait_share_a_transaction(ledger: Ledger, writer: LedgerWriter) -> None:
    """Each of them learns its own watermark."""
    batches = [recording([event()] * n, source=str(n)) for n in range(1, 6)]
    waiting = [asyncio.create_task(writer.record(batch)) for batch in batches]
    await asyncio.sleep(0)
    writer.start()
    assert [found.watermark for found in await asyncio.gather(*waiting)] == [1, 2, 3, 4, 5]
    writer.close()
    ledger.close()


async def test_a_full_queue_refuses(ledger: Ledger, writer: LedgerWriter) -> None:
    """The source is told, and sends it again; what waits is recorded when the thread ends."""
    batch = recording([event()] * 4096)
    waiting = [asyncio.create_task(writer.record(batch)) for _ in range(MAX_WAITING_EVENTS // 4096)]
    await asyncio.sleep(0)
    with pytest.raises(HeadraceError, match="OVERLOADED"):
        await writer.record(batch)
    writer.start()
    await asyncio.to_thread(writer.close)
    assert {found.watermark for found in await asyncio.gather(*waiting)} == {4096}
    with pytest.raises(HeadraceError, match="OVERLOADED"):
        await writer.record(batch)
    ledger.close()


async def test_a_ledger_that_fails_does_not_end_the_thread(ledger: Ledger, writer: LedgerWriter) -> None:
    """The caller is told that nothing was stored; the next one may have more luck."""
    ledger.close()
    writer.start()
    for _ in range(2):
        with pytest.raises(HeadraceError, match="LEDGER_UNAVAILABLE") as error:
            await writer.record(recording([event()]))
        assert error.value.retry_after_s == 1.0
    writer.close()


async def test_a_batch_whose_caller_left_is_let_go(
    ledger: Ledger, writer: LedgerWriter, tmp_path: Path
) -> None:
    """Its source will send it again: recording it now would only cost."""
    waiting = asyncio.create_task(writer.record(recording([event()])))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    writer.start()
    writer.close()
    ledger.close()
    db = sqlite3.connect(tmp_path / "ledger.sqlite3")
    assert db.execute("SELECT count(*) FROM segments").fetchone() == (0,)
    db.close()


async def test_what_tenants_pay_is_counted_once(ledger: Ledger) -> None:
    """In nano-units of the book's currency; a batch that comes again counts nothing."""
    metrics = MeteringMetrics(CollectorRegistry())
    writer = LedgerWriter(ledger, metrics, SystemClock())
    writer.start()
    for _ in range(2):
        await writer.record(recording([event(), event(tenant="umbrella")]))
    writer.close()
    ledger.close()
    assert metrics.paid.labels("USD")._value.get() == 2 * 1_000_011
